"""Search users' regular expressions in the names of layers, in a bounded time.

Python's `re` tries every way in which a pattern may fit. Some patterns have more ways than there
are seconds: (a+)+! does not fit "aaaa...", in 2**n ways. Nothing stops a search from outside, so
that such patterns are refused before, by counting their ways; and the others get a budget of time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from math import inf
from time import thread_time
from typing import Any, Literal

from lycoris_ext.errors import ConfigError

LONGEST = 200_000
"""Characters of the longest pattern; a list of all layers of a large model has 70,000."""
MOST = 5_000
"""Patterns of one config."""
SECONDS = 2.0
"""Seconds that all searches of one pattern may take beyond ``_ALLOWED``."""
_ALLOWED = 0.001
"""Seconds that each search may take anyway; usual patterns take some millionths of one."""
_NAME = 128
"""Number of places in a layer's name where a repetition may end, as good as always."""
_OFTEN = 16
"""How often a single character occurs in a layer's name at most, as good as always."""
_MOST_WAYS = 2.0**24
_SIMPLER = "write it with fewer repetitions (* + {}), and with none inside of another"

# Python 3.10 has the module under its old name.
_parser: Any = import_module("re._parser" if hasattr(re, "_parser") else "sre_parse")

How = Literal["search", "match", "fullmatch"]


def pattern_faults(pattern: str) -> Iterator[ConfigError]:
    """Yield an error if a pattern is no valid regular expression, or one that may take for ever."""
    what, fix = _fault(pattern)
    if what:
        yield ConfigError(what, fix=fix)


@lru_cache(maxsize=2 * MOST)
def _fault(pattern: str) -> tuple[str, str]:
    """Return what is wrong with a pattern, and the remedy; "" if nothing is."""
    if len(pattern) > LONGEST:
        what = f"a pattern has {len(pattern):,} characters, and at most {LONGEST:,} are read"
        return f"{what}: {pattern:.40}...", "split it into several patterns"
    try:
        ways = _ways(_parser.parse(pattern))
        re.compile(pattern)
    except (re.error, OverflowError) as error:
        what = f"{pattern[:200]!r} is no regular expression ({error})"
        return what, "put a backslash before brackets and other signs that are meant as they are"
    except RecursionError:
        return f"the pattern {pattern!r:.80} has too many brackets inside of each other", _SIMPLER
    return _too_slow(pattern) if ways > _MOST_WAYS else ("", "")


def pattern_fits(pattern: str, name: str, how: How = "search") -> bool:
    """Return whether a regular expression is found in a layer's name.

    Args:
        pattern: one without ``pattern_faults``.
        name: of the layer.
        how: the method of `re.Pattern`: anywhere, at the beginning, or for the whole name.

    Raises:
        ConfigError: the pattern took more time than it may.
    """
    return _pattern(pattern, how).fits(name)


class _Pattern:
    """A compiled pattern, and the time that its searches took beyond what each may take."""

    def __init__(self, pattern: str, how: How) -> None:
        self.text = pattern
        self.find = getattr(re.compile(pattern), how)
        self.over = 0.0

    def fits(self, name: str) -> bool:
        began = thread_time()
        found = self.find(name) is not None
        self.over = max(0.0, self.over + thread_time() - began - _ALLOWED)
        if self.over > SECONDS:
            self.over = 0.0
            what, fix = _too_slow(self.text)
            raise ConfigError(what, fix=fix)
        return found


_pattern = lru_cache(maxsize=2 * MOST)(_Pattern)


def _too_slow(pattern: str) -> tuple[str, str]:
    return f"the pattern {pattern!r:.80} may take very long to search for", _SIMPLER


def _ways(tree: Any) -> float:
    """Estimate in how many ways a parsed pattern, or a part of it, may fit one name."""
    total = 1.0
    parts = list(tree)
    for number, (operation, given) in enumerate(parts):
        after = str(parts[number + 1][0]) if number + 1 < len(parts) else ""
        total *= _ways_of(str(operation), given, _OFTEN if after == "LITERAL" else _NAME)
    return total


def _ways_of(operation: str, given: Any, ends: int) -> float:
    """Estimate in how many ways one item of a parsed pattern may fit.

    Args:
        operation, given: as Python's parser has them.
        ends: number of places where it may end if it is a repetition.
    """
    if operation == "BRANCH":
        return _of_branches(given[1])
    if operation in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        least, most, body = given
        return _of_repetition(_ways(body), least, min(int(most), _NAME), ends)
    # A group, an assertion, a condition: whatever patterns are inside of it.
    inside = given if isinstance(given, tuple) else (given,)
    total = 1.0
    for part in inside:
        if isinstance(part, _parser.SubPattern):
            total *= _ways(part)
    return total


def _of_branches(branches: Any) -> float:
    """Add up alternatives; of those that begin with different characters only one can fit."""
    same: dict[object, float] = {}
    for branch in branches:
        first = tuple(branch[0]) if len(branch) and str(branch[0][0]) == "LITERAL" else None
        same[first] = same.get(first, 0.0) + _ways(branch)
    wild = same.pop(None, 0.0)
    return max(same.values(), default=0.0) + wild


def _of_repetition(once: float, least: int, most: int, ends: int) -> float:
    if most <= 1:
        return once if least else 1.0 + once
    if once <= 1.0:
        return float(min(most - least + 1, ends))
    try:
        return once**most
    except OverflowError:
        return inf
