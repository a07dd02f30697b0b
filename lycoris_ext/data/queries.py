"""The language in which pictures are selected, such as ``tag:1girl folder:fanart NOT tag:solo``.

    query  = all { "OR" all }
    all    = one { [ "AND" ] one }
    one    = "NOT" one | "(" query ")" | term
    term   = [ key ":" ] value            without a key: text in the caption
    value  = word | '"' text '"'          of a number: [ ">" | ">=" | "<" | "<=" | "=" ] digits

In a value ``*`` stands for any text and ``?`` for one character; ``\\`` takes away the meaning of
the character behind it. A word ends at a space, or at a ")" that it did not open itself, so that
``tag:saber_(fate)`` needs no quotation marks. Capitals do not count, and in tags neither does the
difference between "_" and a space.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from lycoris_ext.errors import ConfigError

LONGEST_QUERY = 10_000
DEEPEST_QUERY = 100
"""Parentheses and NOT inside of each other."""


class Described(Protocol):
    """What a query asks about a picture."""

    @property
    def tags(self) -> Iterable[str]: ...
    @property
    def caption(self) -> str: ...
    @property
    def names(self) -> Iterable[str]:
        """Of the file: with and without ending."""

    @property
    def path(self) -> str: ...
    @property
    def folders(self) -> Iterable[str]:
        """The levels, and the folder's own name."""

    @property
    def levels(self) -> Iterable[str]: ...
    @property
    def concepts(self) -> Iterable[str]: ...
    @property
    def tokens(self) -> int: ...


class Query(Protocol):
    """A parsed query; ``str`` writes it so that it is read again as the same one."""

    def fits(self, one: Described) -> bool:
        """Tell whether a picture is selected."""


@dataclass(frozen=True)
class Pattern:
    """A value with wildcards.

    Args:
        text: with ``*`` and ``?`` as wildcards, and ``\\`` before characters meant as they are.
    """

    text: str

    def fits(self, text: str) -> bool:
        """Tell whether a whole text fits; the time grows with the product of both lengths."""
        return _fits(_items(self.text.casefold()), text.casefold())

    def fits_tag(self, tag: str) -> bool:
        """Tell whether a tag fits, with "_" and spaces taken for the same."""
        return _fits(_items(self.text.casefold().replace("_", " ")), as_compared(tag))

    def stands_in(self, text: str) -> bool:
        """Tell whether a part of a text fits."""
        return _fits(("*", *_items(self.text.casefold()), "*"), text.casefold())


@dataclass(frozen=True)
class Term:
    """``key:value`` with a text."""

    key: str
    pattern: Pattern

    def __str__(self) -> str:
        return f'{self.key}:"{self.pattern.text}"'

    def fits(self, one: Described) -> bool:
        return TEXTS[self.key](one, self.pattern)


@dataclass(frozen=True)
class Comparison:
    """``key:value`` with a number."""

    key: str
    sign: str
    number: int

    def __str__(self) -> str:
        return f"{self.key}:{self.sign}{self.number}"

    def fits(self, one: Described) -> bool:
        return _SIGNS[self.sign](NUMBERS[self.key](one), self.number)


@dataclass(frozen=True)
class Not:
    """What a query does not select."""

    query: Query

    def __str__(self) -> str:
        return f"NOT {self.query}"

    def fits(self, one: Described) -> bool:
        return not self.query.fits(one)


@dataclass(frozen=True)
class All:
    """What all of several queries select."""

    queries: tuple[Query, ...]

    def __str__(self) -> str:
        return f"({' '.join(map(str, self.queries))})"

    def fits(self, one: Described) -> bool:
        return all(query.fits(one) for query in self.queries)


@dataclass(frozen=True)
class Any:
    """What one of several queries selects."""

    queries: tuple[Query, ...]

    def __str__(self) -> str:
        return f"({' OR '.join(map(str, self.queries))})"

    def fits(self, one: Described) -> bool:
        return any(query.fits(one) for query in self.queries)


TEXTS: dict[str, Callable[[Described, Pattern], bool]] = {
    "tag": lambda one, wanted: any(map(wanted.fits_tag, one.tags)),
    "caption": lambda one, wanted: wanted.stands_in(one.caption),
    "name": lambda one, wanted: any(map(wanted.fits, one.names)),
    "path": lambda one, wanted: wanted.stands_in(one.path),
    "folder": lambda one, wanted: any(map(wanted.fits, one.folders)),
    "level": lambda one, wanted: any(map(wanted.fits, one.levels)),
    "concept": lambda one, wanted: any(map(wanted.fits, one.concepts)),
    "has": lambda one, _: bool(one.caption),
}
"""Key -> whether a picture fits a pattern."""
NUMBERS: dict[str, Callable[[Described], int]] = {
    "tags": lambda one: sum(1 for _ in one.tags),
    "chars": lambda one: len(one.caption),
    "tokens": lambda one: one.tokens,
}
_SIGNS: dict[str, Callable[[int, int], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
}
_NUMBER = re.compile(r"(>=|<=|>|<|=)?([0-9]{1,9})")


def as_compared(tag: str) -> str:
    """Return a tag as it is compared with others: without capitals, with spaces for "_"."""
    return tag.casefold().replace("_", " ")


def parse_query(text: str, where: str = "--select") -> Query:
    """Read a query.

    Args:
        text: the query.
        where: what holds it, for messages.

    Raises:
        ConfigError: it is no query; the message says from which character on.
    """
    return _Parser(text, where).whole()


class _Parser:
    def __init__(self, text: str, where: str) -> None:
        self._text, self._where, self._at, self._depth = text, where, 0, 0

    def whole(self) -> Query:
        if len(self._text) > LONGEST_QUERY:
            raise self._fault(f"has more than {LONGEST_QUERY:,} characters", 0)
        query = self._any()
        if self._peek():
            raise self._fault('has a ")" that nothing opens', self._at)
        return query

    def _any(self) -> Query:
        found = [self._all()]
        while self._keyword("OR"):
            found.append(self._all())
        return found[0] if len(found) == 1 else Any(tuple(found))

    def _all(self) -> Query:
        found = [self._one()]
        while self._keyword("AND") or (self._peek() not in ("", ")") and not self._is("OR")):
            found.append(self._one())
        return found[0] if len(found) == 1 else All(tuple(found))

    def _one(self) -> Query:
        start = self._at
        self._depth += 1
        if self._depth > DEEPEST_QUERY:
            raise self._fault(f"is nested more than {DEEPEST_QUERY} deep", start)
        if self._keyword("NOT"):
            query: Query = Not(self._one())
        elif self._peek() == "(":
            self._at += 1
            query = self._any()
            if self._peek() != ")":
                raise self._fault('has a "(" that nothing closes', start)
            self._at += 1
        else:
            query = self._term()
        self._depth -= 1
        return query

    def _term(self) -> Query:
        if self._peek() in ("", ")") or any(map(self._is, ("OR", "AND"))):
            raise self._fault("ends where something such as tag:solo is expected", self._at)
        start = self._at
        match = re.compile(r"([a-z]+):").match(self._text, start)
        key = match[1] if match else "caption"
        if match:
            self._at = match.end()
        value = self._value(start)
        if key in NUMBERS:
            number = _NUMBER.fullmatch(value)
            if not number:
                raise self._fault(f"compares {key} with {value!r:.40}, no number as in >13", start)
            return Comparison(key, number[1] or "=", int(number[2]))
        if key not in TEXTS:
            known = ", ".join(f"{name}:" for name in (*TEXTS, *NUMBERS))
            raise self._fault(f"has {key}:, which is none of {known}", start)
        if key == "has" and value != "caption":
            raise self._fault(f"has has:{value:.40}, and there is only has:caption", start)
        return Term(key, Pattern(value))

    def _value(self, start: int) -> str:
        quoted = self._text[self._at : self._at + 1] == '"'
        self._at += quoted
        found, opened = "", 0
        while self._at < len(self._text):
            letter = self._text[self._at]
            if letter == '"' if quoted else (letter.isspace() or (letter == ")" and not opened)):
                break
            opened += {"(": 1, ")": -1}.get(letter, 0)
            if letter == "\\":
                self._at += 1
                letter = self._text[self._at : self._at + 1]
                letter = f"\\{letter}" if letter and letter in '*?"\\' else letter or "\\\\"
            elif letter == '"':
                letter = '\\"'
            found += letter
            self._at += 1
        if quoted:
            if self._at >= len(self._text):
                raise self._fault("has a quotation mark that nothing closes", start)
            self._at += 1
        if not found:
            raise self._fault("has no value behind the colon", start)
        return found

    def _peek(self) -> str:
        """Return the next character that is no space; "" at the end."""
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _is(self, word: str) -> bool:
        self._peek()
        end = self._at + len(word)
        return self._text.startswith(word, self._at) and (
            self._text[end : end + 1] in ("", "(", ")") or self._text[end].isspace()
        )

    def _keyword(self, word: str) -> bool:
        found = self._is(word)
        self._at += len(word) * found
        return found

    def _fault(self, what: str, at: int) -> ConfigError:
        told = f"{self._text[:at]}<HERE>{self._text[at:]}"[-400:] if at else self._text[:400]
        return ConfigError(
            f"the query {what}: {told}",
            where=self._where,
            fix='write it as in: tag:1girl folder:fanart NOT tag:"long hair" tokens:>75',
        )


@cache
def _items(text: str) -> tuple[str, ...]:
    """Split a pattern into wildcards, characters, and characters behind a backslash."""
    return tuple(re.findall(r"\\.|.", text, re.DOTALL))


def _fits(items: tuple[str, ...], text: str) -> bool:
    """Compare a text with a pattern, going back to the last ``*`` alone."""
    at = place = 0
    star, from_star = -1, 0
    while place < len(text):
        item = items[at] if at < len(items) else ""
        if item == "*":
            star, from_star, at = at, place, at + 1
        elif item == "?" or (item[-1:] == text[place] and item):
            at, place = at + 1, place + 1
        elif star >= 0:
            from_star += 1
            at, place = star + 1, from_star
        else:
            return False
    return all(item == "*" for item in items[at:])
