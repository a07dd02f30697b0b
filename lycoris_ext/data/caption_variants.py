"""The texts that a caption can become, known before training: to encode them, to count tokens."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import lru_cache

from lycoris_ext.data.captions import (
    CaptionOptions,
    caption_for,
    changed_caption,
    fill_wildcards,
    is_dropped,
)
from lycoris_ext.data.randomness import python_random


def caption_variants(caption: str, options: CaptionOptions, seed: int, number: int) -> list[str]:
    """Return a fixed set of variants of a caption, shuffled and with tags dropped.

    They depend on the arguments alone, so pictures of the same caption share them, and a later run
    finds them in a cache.

    Args:
        caption: the text of the caption file.
        options: those of the picture's subset.
        seed: the run's seed.
        number: of variants; 0 returns the caption alone, which must be one that never changes.
    """
    return [_variant(caption, options, seed, position) for position in range(number or 1)]


def chosen_variant(
    caption: str, options: CaptionOptions, number: int, *, seed: int, epoch: int, sample_id: int
) -> str:
    """Return which of a caption's variants a sample is shown with, or "" if it is dropped.

    The variants are shown in turn, an epoch each; the first one is drawn for each sample.

    Args:
        caption, options, number, seed: as for ``caption_variants``; ``number`` is at least 1.
        epoch, sample_id: of the sample.
    """
    if is_dropped(options, seed=seed, epoch=epoch, sample_id=sample_id):
        return ""
    first = python_random(seed, "caption variant", sample_id).randrange(number)
    return _variant(caption, options, seed, (first + epoch) % number)


def _variant(caption: str, options: CaptionOptions, seed: int, position: int) -> str:
    text = caption.encode("utf-8", "surrogatepass")
    own = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
    return changed_caption(caption, options, seed=seed, epoch=position, sample_id=own)


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
        forms.append(caption_for(text, _never_changing(options), seed=0, epoch=0, sample_id=0))
    return forms


@lru_cache(maxsize=64)
def _never_changing(options: CaptionOptions) -> CaptionOptions:
    return replace(
        options,
        caption_prefix="",
        caption_suffix="",
        enable_wildcard=False,
        shuffle_caption=False,
        caption_dropout_rate=0.0,
        caption_dropout_every_n_epochs=0,
        caption_tag_dropout_rate=0.0,
        token_warmup_step=0.0,
    )
