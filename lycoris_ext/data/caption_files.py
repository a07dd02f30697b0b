"""Read the caption file of a picture: the text file of the same name in the same folder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lycoris_ext.data.encodings import Guess, guess_encodings
from lycoris_ext.errors import DataError
from lycoris_ext.files import read_within
from lycoris_ext.os_errors import reason, remedy_for_reading
from lycoris_ext.words import and_more, count

CAPTION_SUFFIXES = (".txt", ".caption", ".cap")
"""Endings that captioning tools use; an error about missing captions looks for them all."""

_NO_CAPTION = re.compile(
    r"multiply|read[-_ ]?me|licen[cs]e|copying|credits|source|notes?|prompts?|tags|class", re.I
)
"""How text files are called that lie beside pictures and are no captions."""

CAPTION_BYTES = 1_000_000
"""The largest caption file that is read. Text encoders read some 1000 characters of it."""

ALLOW_MISSING = "set allow_missing_captions = true to train these on their folder's name"


@dataclass(frozen=True)
class ForeignCaption:
    """A caption file that is not UTF-8.

    Args:
        path: the file.
        raw: its bytes.
        guess: what they seem to be.
    """

    path: Path
    raw: bytes
    guess: Guess


def read_bytes(path: Path, most: int = CAPTION_BYTES) -> bytes:
    """Read a file of captions.

    Args:
        path: the file.
        most: the largest number of bytes that is read.

    Raises:
        DataError: the file cannot be opened, or is larger.
    """
    try:
        return read_within(path, most)
    except OSError as error:
        raise DataError(
            f"cannot be opened ({reason(error)})", where=str(path), fix=remedy_for_reading(error)
        ) from error


def decode_utf8(raw: bytes) -> str | None:
    """Decode a text file; None if it is not UTF-8.

    A byte order mark, which Windows' Notepad writes, is dropped. A text with zero bytes is UTF-16,
    although UTF-8 allows them.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def caption_in(text: str, *, all_lines: bool = False) -> tuple[str, bool]:
    """Return the first line of a caption file that is not empty, as sd-scripts does.

    Args:
        text: of the file.
        all_lines: return all lines that are not empty, joined by line breaks; the option
            enable_wildcard draws one of them.

    Returns:
        The caption ("" if the file has no text), and whether further lines were left out.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if all_lines:
        return "\n".join(lines), False
    return (lines[0] if lines else ""), len(lines) > 1


def judge_foreign(files: Sequence[tuple[Path, bytes]]) -> list[ForeignCaption]:
    """Guess the encodings of the caption files of one folder that are not UTF-8.

    Args:
        files: the path and the bytes of each.
    """
    guesses = guess_encodings([raw for _, raw in files])
    return [
        ForeignCaption(path, raw, guess) for (path, raw), guess in zip(files, guesses, strict=True)
    ]


def orphans(paths: Sequence[Path], extension: str) -> list[Path]:
    """Return the caption files of a folder that no picture has.

    Args:
        paths: everything in the folder.
        extension: of caption files.
    """
    others = {path.stem for path in paths if path.suffix != extension}
    others |= {path.name for path in paths if path.suffix != extension}  # a.png.txt
    return [
        path
        for path in paths
        if path.suffix == extension
        and path.stem not in others
        and not _NO_CAPTION.match(path.stem)
        and path.is_file()
    ]


def count_endings(pictures: Iterable[Path]) -> dict[str, int]:
    """Return ending -> number of the pictures that have a caption file with it."""
    paths = list(pictures)
    return {
        ending: sum(path.with_suffix(ending).is_file() for path in paths)
        for ending in CAPTION_SUFFIXES
    }


def advice_on_endings(pictures: Sequence[Path], extension: str, there: int) -> str:
    """Say what to do about caption files of another ending or name; "" if there are none.

    Args:
        pictures: those without a caption.
        extension: the ending that was looked for, caption_extension.
        there: number of pictures that have a caption file of this ending.
    """
    found = {name: number for name, number in count_endings(pictures).items() if name != extension}
    ending = max(found, key=lambda name: found[name])
    if not found[ending]:
        return _advice_on_names(pictures, extension)
    have = count(found[ending], "of them has", "of them have") + f" a {ending} file"
    if found[ending] > there:  # that ending would find more captions than it would lose
        return f'{have}: set caption_extension = "{ending}"'
    return f'{have}: change its name to end in "{extension}"'


def _advice_on_names(pictures: Sequence[Path], extension: str) -> str:
    """Say what to do about captions in a.png.txt or, where capitals count, a.TXT."""
    found = []
    for path in pictures:
        for name in (f"{path.name}{extension}", f"{path.stem}{extension.upper()}"):
            if path.with_name(name).is_file():
                found.append(f"{name} to {path.stem}{extension}")
                break
    if not found:
        return ""
    have = count(len(found), "of them has", "of them have")
    return f"{have} a caption file of another name: rename {and_more(found)}"
