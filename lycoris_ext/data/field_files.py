"""Read the fields of captions from the JSON files that anime_screenshot_pipeline writes.

Of ``pictures/a.png`` it is ``pictures/.a_meta.json``, one object: {"characters": ["Anisphia"],
"type": "aniscreen", "tags": {"1girl": 0.99}, "processed_tags": ["1girl", "solo"]}. Which keys are
read, and how each becomes a text, is what its class CaptionGenerator does, with two differences: a
field of which nothing is left adds nothing, and white space within a text is one space.

Source: anime_screenshot_pipeline c9e3fb8, anime2sd/captioning/captioning.py, anime2sd/character.py
and get_corr_meta_names of anime2sd/basics.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lycoris_ext.data.caption_fields import MARK, Field, Wanted
from lycoris_ext.data.caption_files import decode_utf8, read_bytes
from lycoris_ext.errors import DataError
from lycoris_ext.formats.json_text import parse_json

_NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""A zero, and half of a character: JSON can hold them, and no file of text can."""
_NO_FILE_NAME = re.compile(r'[<>:"/\\?*]')
_UNKNOWN = "unknown"


def field_file(picture: Path) -> Path:
    """Return the file that holds the fields of a picture, whether it exists or not."""
    return picture.with_name(f".{picture.stem}_meta.json")


def read_fields(file: Path, wanted: Sequence[Wanted], between: str) -> tuple[Field, ...]:
    """Read the fields of a picture.

    Args:
        file: of ``field_file``.
        wanted: which fields, in their order.
        between: stands between two tags of a field.

    Returns:
        Those that are there, and the mark where one is wanted; () if there is no file.

    Raises:
        DataError: the file cannot be read, or holds something else.
    """
    try:
        if not os.path.isfile(file):  # also where its name would be too long
            return ()
        text = decode_utf8(read_bytes(file))
        if text is None:
            raise ValueError("it is not UTF-8")
        content = parse_json(text)
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
        return tuple(_fields(content, wanted, between))
    except ValueError as error:
        raise DataError(f"is no JSON of caption fields ({error})", where=str(file)) from error


def _fields(content: Mapping[str, Any], wanted: Sequence[Wanted], between: str) -> Sequence[Field]:
    found = []
    for name, _ in wanted:
        if name == MARK:
            found.append(Field(name, ""))
            continue
        key, texts = _READ[name]
        if key == "tags" and "processed_tags" in content:
            key = "processed_tags"
        if value := content.get(key):
            try:
                parts = texts(value)
            except ValueError as error:
                raise ValueError(f'"{key}" {error}') from error
            if parts:
                found.append(Field(name, between.join(parts)))
    return found


def _texts(value: object, *ignored: str) -> list[str]:
    """Return a text, or those of a list or of the keys of a table, as a list."""
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, (list, dict)):
        raise ValueError("is no text and no list of texts")
    made = []
    for one in values:
        if not isinstance(one, str) or _NO_TEXT.search(one):
            raise ValueError("holds something that is no text")
        made.append(" ".join(one.split()))
    return [one for one in made if one and one not in (_UNKNOWN, *ignored)]


def _with_word(word: str, texts: list[str]) -> list[str]:
    return [f"{word} {texts[0]}", *texts[1:]] if texts else []


def _people(value: object) -> list[str]:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1000:
        raise ValueError("is no number of people")
    return [f"{value}{'person' if value == 1 else 'people'}"]


def _character(text: str) -> list[str]:
    """Return a character's name with its looks, then each of its clothes, accessories and so on.

    They are written as "name|appearance|outfit+outfit|accessories|objects|features".
    """
    name, looks, *others = [*text.split("|"), ""][:6]
    name, looks = (_NO_FILE_NAME.sub("_", part).strip() for part in (name, looks))
    if looks.startswith("_"):
        name = "_".join(f"{name}{looks}".split())
    elif looks and looks.lower() != "none":
        name = f"{name} {looks}".strip()
    rest = [_NO_FILE_NAME.sub("_", part.replace("+", " ")).strip() for part in others]
    return [name, *(part for part in rest if part and part.lower() != "none")]


def _rating(value: object) -> list[str]:
    return ["explicit"] if value in ("explicit", "e") else []


def _crop(value: object) -> list[str]:
    kinds = _texts(value["type"]) if isinstance(value, dict) and "type" in value else []
    return [" ".join([*kinds, "cropped"])]


_READ: dict[str, tuple[str, Callable[[Any], list[str]]]] = {
    "npeople": ("npeople", _people),
    "character": (
        "characters",
        lambda value: [part for one in _texts(value) for part in _character(one) if part],
    ),
    "copyright": ("copyright", lambda value: _with_word("from", _texts(value))),
    "image_type": ("type", _texts),
    "artist": ("artist", lambda value: _with_word("by", _texts(value, "anonymous"))),
    "rating": ("rating", _rating),
    "crop_info": ("crop", _crop),
    "tags": ("tags", _texts),
}
"""Field -> its key in the file, and what makes texts of its value."""
