"""Captions built of fields that are drawn once for each picture, to be kept in a caption set."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from lycoris_ext.data.caption_fields import drawn, joined_fields
from lycoris_ext.data.config import DataConfig
from lycoris_ext.data.field_files import field_file
from lycoris_ext.data.tag_changes import Captioned, Change, everywhere
from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.words import and_more, count


def with_fields(config: DataConfig, entries: Sequence[str]) -> DataConfig:
    """Return a config whose captions are built of these fields, in all of its folders."""
    return everywhere(config, caption_fields=tuple(entries))


def drawn_once(
    pictures: Sequence[Captioned], others: Sequence[Captioned], seed: int
) -> list[Captioned]:
    """Draw the fields of each picture.

    What is drawn depends on the seed and on the picture's path below its root alone.

    Args:
        pictures: read with the config of ``with_fields``.
        others: the same pictures with other captions, which those without fields keep.
        seed: another one draws other fields.

    Raises:
        DataError: no picture has fields.
    """
    if pictures and not any(one.caption for one in pictures):
        example = field_file(pictures[0].picture.path)
        raise DataError(
            f"none of {count(len(pictures), 'picture')} has one of these fields",
            where=str(example),
            fix="--fields reads such a file beside each picture, which the captioning stage of "
            "anime_screenshot_pipeline writes",
        )
    return [
        _drawn(one, seed) if one.caption else other
        for one, other in zip(pictures, others, strict=True)
    ]


def refuse_empty(changes: Sequence[Change]) -> None:
    """Refuse captions for which nothing was drawn: a caption set cannot hold them.

    Raises:
        ConfigError: there are some.
    """
    empty = [one.one.picture.path.name for one in changes if not one.after]
    if empty:
        raise ConfigError(
            f"no field was drawn for {count(len(empty), 'picture')}, which would have no caption: "
            f"{and_more(empty)}",
            where="--fields",
            fix="write one field without a number, so that it is always shown, or --add a tag",
        )


def _drawn(one: Captioned, seed: int) -> Captioned:
    picture = one.picture
    if not picture.fields:
        return one
    name = picture.path.relative_to(picture.root).as_posix().encode("utf-8", "surrogateescape")
    own = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")
    subset = picture.subset
    shown = drawn(picture.fields, subset.wanted_fields, seed, 0, own)
    caption = joined_fields(shown, subset.between_tags, subset.keep_tokens_separator)
    return replace(one, picture=replace(picture, caption=caption, fields=()))
