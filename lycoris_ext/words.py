"""Numbers, lists and strangers' texts, as messages and tables show them."""

from __future__ import annotations

from collections.abc import Iterable


def count(number: int, noun: str, plural: str = "") -> str:
    """A number of things: "1 picture", "2 pictures", "0 entries".

    Args:
        number: how many.
        noun: for one of them.
        plural: for several; unset: the noun with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def and_more(items: Iterable[object], limit: int = 3, apart: str = ", ") -> str:
    """The first few of a list, and how many more there are: "a, b, c and 4 more".

    Args:
        items: what is listed, as ``str`` writes it.
        limit: how many are shown.
        apart: what stands between them; a line break makes one line of each.
    """
    texts = [str(item) for item in items]
    shown = apart.join(texts[:limit])
    if len(texts) <= limit:
        return shown
    return f"{shown}{' ' if apart == ', ' else apart}and {len(texts) - limit} more"


def one_line(text: str) -> str:
    """A stranger's text without line breaks, escape sequences and other unprintable characters,
    each of which becomes a space."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def short(text: str, most: int = 160) -> str:
    """A stranger's text as one line of at most so many printable characters."""
    line = " ".join(one_line(text[: 4 * most]).split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def file_size(size: float) -> str:
    """A number of bytes: "98.3 kB", "4.44 MB", "6.94 GB"."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:.2f} {unit}"
    return f"{size / 1e3:.1f} kB"


def duration(seconds: float) -> str:
    """A time to wait: "42 s", "3 min 07 s", "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
