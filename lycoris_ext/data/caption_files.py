"""The caption files beside pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lycoris_ext.errors import DataError

CAPTION_SUFFIXES = (".txt", ".caption", ".cap")
"""Endings that captioning tools use; looked for when captions are missing."""


def read_caption(path: Path, *, all_lines: bool = False) -> tuple[str, bool]:
    """Read a caption file: its first line, as sd-scripts does.

    A UTF-8 byte order mark, which Windows' Notepad writes, is dropped.

    Args:
        path: the file.
        all_lines: read all lines with text, for enable_wildcard, which draws one of them.

    Returns:
        The caption, and whether further lines are left out.

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
    """What to do about pictures without a caption; their captions may lie there by another name."""
    for ending in CAPTION_SUFFIXES:
        there = sum(path.with_suffix(ending).is_file() for path in pictures)
        if there and ending != extension:
            return f'{there} of them have a {ending} file: set caption_extension = "{ending}"'
    return (
        "write the captions, correct caption_extension, or set "
        "allow_missing_captions = true to train these on their folder's name"
    )
