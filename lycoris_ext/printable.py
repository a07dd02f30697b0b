"""Texts from files of unknown origin, made harmless for a terminal, a log or a page."""

from __future__ import annotations

import unicodedata

LONGEST_LINE = 4_000
"""Characters of a line of a message, enough for our own longest list of options; a longer one loses
its middle."""

_ESCAPED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of characters that control how others are shown (escape sequences, changes
of the reading direction), that are halves of characters, or that break lines."""
_HARMLESS = frozenset("\t\n\u200c\u200d")
"""Of these: tabs, line breaks, and what joins the letters of some scripts and the parts of emoji.
"""


def printable(text: str) -> str:
    """Write characters that control a terminal or the order of letters as escapes, as ``\\x1b``.

    Lines keep their breaks, and a line of more than ``LONGEST_LINE`` characters loses its middle.
    """
    if not text.isprintable():
        text = "".join(map(_escaped, text.replace("\r\n", "\n")))
    if len(text) <= LONGEST_LINE:
        return text
    return "\n".join(map(_cut, text.split("\n")))


def on_one_line(text: str) -> str:
    """Write a text as ``printable`` does, and its line breaks and tabs as escapes, too.

    For a name or value out of a file inside of a line: it begins no line of its own.
    """
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def _escaped(letter: str) -> str:
    if letter in _HARMLESS or unicodedata.category(letter) not in _ESCAPED:
        return letter
    return letter.encode("unicode_escape").decode("ascii")


def _cut(line: str) -> str:
    if len(line) <= LONGEST_LINE:
        return line
    return f"{line[: LONGEST_LINE - 305]} ... {line[-300:]}"
