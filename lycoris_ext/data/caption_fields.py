"""Captions built of fields: who and what is in a picture, by whom, and its tags.

The option ``caption_fields`` lists fields in their order, each with the chance that it is shown:
("character", "image_type", "tags:0.5"). Their texts are read from a JSON file beside the picture,
see ``field_files``; names, order and wording are those of anime_screenshot_pipeline.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import NamedTuple

from lycoris_ext.data.randomness import python_random
from lycoris_ext.errors import ConfigError, Faults

FIELDS = (
    "npeople",
    "character",
    "copyright",
    "image_type",
    "artist",
    "rating",
    "crop_info",
    "tags",
)
"""All fields, in the usual order. A new one may only be added at the end, because of ``drawn``."""
ALIASES = {
    "n_people": "npeople",
    "characters": "character",
    "copyrights": "copyright",
    "type": "image_type",
    "artists": "artist",
    "crop": "crop_info",
    "tag": "tags",
}
ALWAYS = ""
"""Name of what is no field of the picture's own, and shown each time."""
MARK = "keep"
"""Name of the mark of keep_tokens_separator among the fields."""


class Field(NamedTuple):
    """A part of a caption: the name of its field, ``ALWAYS`` or ``MARK``, and its text."""

    name: str
    text: str


class Wanted(NamedTuple):
    """A field that captions are to have, and the chance from 0 to 1 that it is shown."""

    name: str
    chance: float


@lru_cache(maxsize=64)
def wanted_fields(entries: tuple[str, ...], mark: str = "") -> tuple[Wanted, ...]:
    """Read the option caption_fields.

    Args:
        entries: names of fields, each by itself or as in "tags:0.5"; an entry may be the mark.
        mark: keep_tokens_separator; if no entry is it, it stands before the tags.

    Returns:
        The fields in their order, without those whose chance is 0.

    Raises:
        ConfigError: an entry is wrong, or a field is there twice; all of them are told.
    """
    found: list[Wanted] = []
    faults = Faults()
    for entry in entries:
        with faults:
            if mark and entry.strip() == mark.strip():
                found.append(Wanted(MARK, 1.0))
                continue
            one = _wanted(entry)
            if any(one.name == other.name for other in found):
                raise _wrong(f"{one.name} twice", "leave one of them out")
            found.append(one)
    faults.raise_all()
    names = [one.name for one in found]
    if mark and MARK not in names and "tags" in names:
        found.insert(names.index("tags"), Wanted(MARK, 1.0))
    return tuple(one for one in found if one.chance > 0)


def is_drawn(wanted: Iterable[Wanted]) -> bool:
    """Tell whether captions of these fields change from epoch to epoch."""
    return any(one.chance < 1 for one in wanted)


def drawn(
    fields: Sequence[Field], wanted: Sequence[Wanted], seed: int, epoch: int, sample_id: int
) -> list[Field]:
    """Draw the fields with which a caption is shown.

    Whether a field is shown depends on its name alone, not on the others that a picture has.

    Args:
        fields: those of a picture.
        wanted: the chances.
        seed, epoch, sample_id: decide what is drawn.
    """
    rng = python_random(seed, "caption fields", epoch, sample_id)
    numbers = {name: rng.random() for name in FIELDS}
    chances = {one.name: one.chance for one in wanted}
    return [one for one in fields if numbers.get(one.name, 0.0) < chances.get(one.name, 1.0)]


def joined_fields(fields: Iterable[Field], between: str, mark: str) -> str:
    """Put fields together to a caption.

    Args:
        fields: in their order.
        between: stands between two of them, as between tags: ", ".
        mark: the text of ``MARK``.
    """
    parts: list[list[str]] = [[]]
    for one in fields:
        if one.name == MARK:
            parts.append([])
        elif one.text:
            parts[-1].append(one.text)
    return f" {mark} ".join(map(between.join, parts)).strip() if any(parts) else ""


def _wanted(entry: str) -> Wanted:
    text, _, number = entry.partition(":")
    name = text.strip().lower()
    name = ALIASES.get(name, name)
    if name not in FIELDS:
        near = get_close_matches(name, FIELDS, n=1)
        fix = f'write "{near[0]}"' if near else f"the fields are {', '.join(FIELDS)}"
        raise _wrong(f"{text.strip()!r:.60}", f"{fix}; or write keep_tokens_separator's mark")
    try:
        chance = float(number) if ":" in entry else 1.0
    except ValueError:
        chance = -1.0
    if not 0 <= chance <= 1:
        raise _wrong(
            f"{name} with the chance {number.strip()!r:.60}",
            f'write a number from 0 to 1, as in "{name}:0.5"',
        )
    return Wanted(name, chance)


def _wrong(what: str, fix: str) -> ConfigError:
    return ConfigError(f"caption_fields names {what}", where="caption_fields", fix=fix)
