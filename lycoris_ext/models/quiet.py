"""Silencing the messages of libraries while a model is read, none of which helps the user."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Let diffusers and transformers show nothing but errors in a `with` block.

    Progress bars and bitsandbytes are silent, too. Afterwards all of them are as before.
    """
    # When diffusers imports bitsandbytes, that complains about an optional package.
    bitsandbytes = logging.getLogger("bitsandbytes")
    level = bitsandbytes.level
    bitsandbytes.setLevel(logging.CRITICAL)
    try:
        from diffusers.utils import logging as diffusers_logging
        from transformers.utils import logging as transformers_logging

        both = (diffusers_logging, transformers_logging)
        before = [(each.get_verbosity(), each.is_progress_bar_enabled()) for each in both]
        for each in both:
            each.set_verbosity_error()
            each.disable_progress_bar()
        try:
            yield
        finally:
            for each, (verbosity, progress_bar) in zip(both, before, strict=True):
                each.set_verbosity(verbosity)
                if progress_bar:
                    each.enable_progress_bar()
    finally:
        bitsandbytes.setLevel(level)
