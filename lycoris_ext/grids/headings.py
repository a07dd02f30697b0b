"""Short headings for a grid's page, which show what tells the names of adapters apart."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lycoris_ext.grids.plan import GridPlan
from lycoris_ext.words import count

#: A beginning or an end that names share is left out if it has at least this many letters.
_WORTH_IT = 6
#: A title names at most this many adapters; of more it names the first and the last.
_NAMED = 3
_SEPARATORS = " -_.,"
#: Characters that change the direction or the order in which the letters around them are shown.
_DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def what_differs(names: Sequence[str]) -> list[str]:
    """Replace the words with which all names begin, and those with which all end, by "…".

    Names that share little stay as they are. Different names never become equal.

    Args:
        names: names such as "tilty-step-200" and "tilty-step-400", which become "…200" and "…400".
    """
    begin = _shared(names)
    ends = [name[begin:][::-1] for name in names]
    end = _shared(ends)
    shown = []
    for name in names:
        text = name[begin : len(name) - end].strip(_SEPARATORS)
        shown.append(f"{'…' if begin else ''}{text}{'…' if end else ''}" if text else name)
    return shown if len(set(shown)) == len(set(names)) else list(names)


def _shared(names: Sequence[str]) -> int:
    """Return how many letters all names begin with, cut back to the end of a word; 0 if few."""
    if len(set(names)) < 2:
        return 0
    first, last = min(names), max(names)
    length = next(
        (at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b),
        min(len(first), len(last)),
    )
    while length and not all(_word_ends(name, length) for name in names):
        length -= 1
    return length if length >= _WORTH_IT else 0


def _word_ends(name: str, at: int) -> bool:
    return at == len(name) or name[at] in _SEPARATORS or name[at - 1] in _SEPARATORS


def short_title(plan: GridPlan) -> str:
    """Return a plan's title; one with many adapters gives their number, the first and the last."""
    names = [entrant.name for entrant in plan.entrants]
    if len(names) <= _NAMED:
        return plan.title
    return f"{count(len(names), 'adapter')}: {names[0]} to {names[-1]}"


def harmless(text: str) -> str:
    """Write characters that turn the direction of a text as their names, such as "<U+202E>".

    A file's name with such a character would show other text around it in another order.
    """
    return _DIRECTIONS.sub(lambda found: f"<U+{ord(found[0]):04X}>", text)
