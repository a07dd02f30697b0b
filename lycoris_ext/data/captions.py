"""What is done to a caption each time its picture is shown: shuffling and dropping, as sd-scripts
does it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from random import Random

from lycoris_ext.data.config import DataConfig
from lycoris_ext.data.randomness import python_random
from lycoris_ext.errors import DataError

CAPTION_SUFFIXES = (".txt", ".caption", ".cap")
"""Endings that captioning tools use; looked for when captions are missing."""


def read_caption(path: Path, *, all_lines: bool = False) -> tuple[str, bool]:
    """Read a caption file: its first line, as sd-scripts does, and whether more lines are left out.

    A UTF-8 byte order mark, which Windows' Notepad writes, is dropped.

    Args:
        path: the file.
        all_lines: for enable_wildcard, which draws one of them: all lines with text.

    Raises:
        DataError: the file is not UTF-8; the message gives the byte.
    """
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        kind = "UTF-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "not UTF-8"
        raise DataError(
            f"the caption is {kind} (byte {error.start} is 0x{raw[error.start]:02x})",
            where=str(path),
            fix="save the file as UTF-8",
        ) from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if all_lines:
        return "\n".join(lines), False
    return (lines[0] if lines else ""), len(lines) > 1


def fix_for_missing_captions(pictures: Sequence[Path], extension: str) -> str:
    """What to do about pictures without a caption; their captions may lie there by another name."""
    for ending in CAPTION_SUFFIXES:
        there = sum(path.with_suffix(ending).is_file() for path in pictures)
        if there and ending != extension:
            return f'{there} of them have a {ending} file: set caption_extension = "{ending}"'
    return (
        "write the captions, correct caption_extension, or set "
        "allow_missing_captions = true to train these on their folder's name"
    )


def caption_for(caption: str, config: DataConfig, *, seed: int, epoch: int, sample_id: int) -> str:
    """The caption of one showing: dropped, drawn, shuffled and thinned as a function of (seed,
    epoch, sample id).

    Args:
        caption: the text of the caption file.
        config: the caption options.
        seed, epoch, sample_id: what the random decisions depend on, and nothing else.

    Returns:
        The caption to encode; "" when it was dropped.
    """
    every = config.caption_dropout_every_n_epochs
    # sd-scripts counts epochs from 1.
    if every and (epoch + 1) % every == 0:
        return ""
    if python_random(seed, "caption dropout", epoch, sample_id).random() < (
        config.caption_dropout_rate
    ):
        return ""
    rng = python_random(seed, "wildcard", epoch, sample_id)
    if config.enable_wildcard:
        caption = rng.choice(caption.split("\n"))
    parts = (config.caption_prefix, caption, config.caption_suffix)
    caption = " ".join(part for part in parts if part)
    if config.enable_wildcard:
        caption = _fill_wildcards(caption, rng)
    caption = _arrange(caption, config, seed, epoch, sample_id)
    if config.secondary_separator:
        caption = caption.replace(config.secondary_separator, config.caption_separator)
    return caption


def _fill_wildcards(caption: str, rng: Random) -> str:
    """One alternative of each {a|b}; doubled braces are braces."""

    def choose(match: re.Match[str]) -> str:
        braces = {"{{": "{", "}}": "}"}.get(match[0])
        return braces or rng.choice(match[1].split("|"))

    return re.sub(r"\{\{|\}\}|\{([^{}]+)\}", choose, caption)


def _arrange(caption: str, config: DataConfig, seed: int, epoch: int, sample_id: int) -> str:
    """Shuffle and drop tags, but for those that are to keep their place."""
    separator, rate = config.keep_tokens_separator, config.caption_tag_dropout_rate
    marked = bool(separator) and separator in caption
    if not (marked or config.shuffle_caption or rate > 0.0):
        return caption

    def tags(text: str) -> list[str]:
        parts = (tag.strip() for tag in text.split(config.caption_separator))
        return [tag for tag in parts if tag]

    if marked:
        first, middle, last = map(tags, [*caption.split(separator, 2), ""][:3])
    else:
        kept = config.keep_tokens
        first, middle, last = tags(caption)[:kept], tags(caption)[kept:], []
    if config.shuffle_caption:
        python_random(seed, "caption shuffle", epoch, sample_id).shuffle(middle)
    if rate > 0.0:
        rng = python_random(seed, "tag dropout", epoch, sample_id)
        middle = [tag for tag in middle if rng.random() >= rate]
    return ", ".join([*first, *middle, *last])
