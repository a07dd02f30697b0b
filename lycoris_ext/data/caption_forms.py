"""The texts that a caption can become: all that will be shown, and the longest."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from lycoris_ext.data.captions import (
    CaptionOptions,
    Showing,
    as_variant,
    changed_caption,
    fill_wildcards,
)


def known_forms(caption: str, options: CaptionOptions, seed: int) -> list[str]:
    """Return every text with which a caption is shown during a run.

    Args:
        caption: the text of the caption file.
        options: those of the picture's subset. If they change captions from epoch to epoch,
            caption_variants must be set, and token_warmup_step must not.
        seed: the run's seed.
    """
    once = Showing(seed, epoch=0, sample_id=0)
    variants = [as_variant(once, caption, n) for n in range(options.caption_variants)]
    forms = [changed_caption(caption, options, showing) for showing in variants or [once]]
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
    forms = []
    for line in caption.split("\n") if options.enable_wildcard else [caption]:
        parts = (options.caption_prefix, line, options.caption_suffix)
        text = " ".join(part for part in parts if part)
        if options.enable_wildcard:
            text = fill_wildcards(text, lambda alternatives: max(alternatives, key=len))
        forms.append(changed_caption(text, _never_changing(options), Showing(0, 0, 0)))
    return forms


@lru_cache(maxsize=64)
def _never_changing(options: CaptionOptions) -> CaptionOptions:
    return replace(
        options,
        caption_prefix="",
        caption_suffix="",
        enable_wildcard=False,
        shuffle_caption=False,
        caption_tag_dropout_rate=0.0,
        token_warmup_step=0.0,
    )
