"""Read the caption file of a picture: the text file of the same name in the same folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lycoris_ext.errors import DataError

CAPTION_SUFFIXES = (".txt", ".caption", ".cap")
"""Endings that captioning tools use; an error about missing captions looks for them all."""


def read_caption(path: Path, *, all_lines: bool = False) -> tuple[str, bool]:
    """Read the first line of a caption file that is not empty, as sd-scripts does.

    A UTF-8 byte order mark, which Windows' Notepad writes, is dropped.

    Args:
        path: the file.
        all_lines: return all lines that are not empty, joined by line breaks; the option
            enable_wildcard draws one of them.

    Returns:
        The caption ("" if the file has no text), and whether further lines were left out.

    Raises:
        DataError: the file cannot be opened, or is not UTF-8; the message gives the byte.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"the caption cannot be opened ({error.strerror})", where=str(path)
        ) from error
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
    """Say how to mend missing captions; name the ending of caption files that were not read.

    Args:
        pictures: those without a caption.
        extension: the ending that was looked for, caption_extension.
    """
    for ending in CAPTION_SUFFIXES:
        there = sum(path.with_suffix(ending).is_file() for path in pictures)
        if there and ending != extension:
            return f'{there} of them have a {ending} file: set caption_extension = "{ending}"'
    return (
        "write the captions, correct caption_extension, or set "
        "allow_missing_captions = true to train these on their folder's name"
    )
