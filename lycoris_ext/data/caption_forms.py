"""The texts that a caption can become: all that will be shown, and the longest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from lycoris_ext.data.caption_fields import Field
from lycoris_ext.data.captions import CaptionOptions, Showing, as_variant, changed_caption


def known_forms(
    caption: str, options: CaptionOptions, seed: int, fields: Sequence[Field] = ()
) -> list[str]:
    """Return every text with which a caption is shown during a run.

    Args:
        caption: the text of the caption file.
        options: those of the picture's subset. If they change captions from epoch to epoch,
            caption_variants must be set, and token_warmup_step must not.
        seed: the run's seed.
        fields: those of which the caption is made anew in every epoch; () if it is not.
    """
    once = Showing(seed, epoch=0, sample_id=0)
    variants = [as_variant(once, caption, n) for n in range(options.caption_variants)]
    forms = [
        changed_caption(caption, options, showing, fields=fields) for showing in variants or [once]
    ]
    return [*dict.fromkeys(forms), *([""] if options.dropping else [])]


def longest_forms(caption: str, options: CaptionOptions) -> list[str]:
    """Return the longest texts that a caption can become.

    Args:
        caption: the text of the caption file.
        options: those of the picture's subset.

    Returns:
        One text for each line that may be drawn, with all tags and with the longest alternative of
        each wildcard.
    """
    lines = caption.split("\n") if options.enable_wildcard else [caption]
    whole, once = _with_all_tags(options), Showing(0, 0, 0)
    return [changed_caption(line, whole, once, lambda texts: max(texts, key=len)) for line in lines]


@lru_cache(maxsize=64)
def _with_all_tags(options: CaptionOptions) -> CaptionOptions:
    return replace(
        options,
        shuffle_caption=False,
        caption_tag_dropout_rate=0.0,
        tag_list_dropout_rate=0.0,
        token_warmup_step=0.0,
    )
