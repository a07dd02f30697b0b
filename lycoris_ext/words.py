"""Writing numbers, lists, commands and texts from files in messages and tables."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection, Iterable, Sequence
from pathlib import PurePath

_PLAIN_ON_WINDOWS = re.compile(r"[\w\\/.:+=-]+")
_READ_IN_DOUBLE_QUOTES = re.compile('[$`%"\u201c\u201d\u201e]')
"""What PowerShell or cmd reads inside of double quotes as something else than itself."""
_SINGLE_QUOTES = re.compile("['\u2018\u2019\u201a\u201b]")
"""What ends a text in single quotes in PowerShell, unless it stands there twice: it takes each of
these for the others, as it does the double quotes above."""


def command(*words: str | PurePath, windows: bool = os.name == "nt") -> str:
    """Write a command so that it runs when it is pasted into a shell.

    Args:
        words: the program, its options as texts, and files as paths.
        windows: quote for PowerShell, where possible so that cmd reads the same; else for POSIX.
            The rules are those of "about_Quoting_Rules" and "about_Parsing" in its documentation.
    """
    quote = _quoted_on_windows if windows else shlex.quote
    written = [quote(_argument(word)) for word in words]
    if windows and written[0][0] in "\"'":
        written.insert(0, "&")  # PowerShell only prints a text in quotes; & calls it
    return " ".join(written)


def _argument(word: str | PurePath) -> str:
    """Return a word as text; a path that begins like an option gets its folder before it."""
    text = str(word)
    return f".{os.sep}{text}" if isinstance(word, PurePath) and text.startswith("-") else text


def _quoted_on_windows(word: str) -> str:
    if _PLAIN_ON_WINDOWS.fullmatch(word):
        return word
    if not _READ_IN_DOUBLE_QUOTES.search(word):
        return f'"{word}"'
    return "'" + _SINGLE_QUOTES.sub(lambda found: found[0] * 2, word) + "'"


def count(number: int, noun: str, plural: str = "") -> str:
    """Write a number of things: "1 picture", "2 pictures", "0 entries".

    Args:
        number: of things.
        noun: the singular.
        plural: the plural, if it is not the singular with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def and_more(items: Iterable[object], limit: int = 3, apart: str = ", ") -> str:
    """List the first few items and the number of the others: "a, b, c and 4 more".

    Args:
        items: the whole list; ``str`` writes each item.
        limit: the most items that are shown.
        apart: the separator; a line break puts each item on its own line.
    """
    texts = [str(item) for item in items]
    shown = apart.join(texts[:limit])
    if len(texts) <= limit:
        return shown
    return f"{shown}{' ' if apart == ', ' else apart}and {len(texts) - limit} more"


def table(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> list[str]:
    """Write rows of cells as lines whose columns stand below each other, two spaces apart.

    Args:
        rows: of the same length each.
        left: numbers of the columns that begin at their left side; the others end at their right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if number in left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def names(text: str) -> list[str]:
    """Split a text at spaces and line breaks: how long lists of names are written in tables."""
    return text.split()


def one_line(text: str) -> str:
    """Replace line breaks, escape characters and other unprintable characters by spaces.

    For texts from files of unknown origin, such as metadata, before they are printed.
    """
    return "".join(letter if letter.isprintable() else " " for letter in text)


def short(text: str, most: int = 160) -> str:
    """Shorten a text from a file to one line of at most ``most`` printable characters."""
    line = " ".join(one_line(text[: 4 * most]).split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def file_size(size: float) -> str:
    """Write a number of bytes: "98.3 kB", "4.44 MB", "6.94 GB"."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:.2f} {unit}"
    return f"{size / 1e3:.1f} kB"


def duration(seconds: float) -> str:
    """Write a number of seconds as a time: "42 s", "3 min 07 s", "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
