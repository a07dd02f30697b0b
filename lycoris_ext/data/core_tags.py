"""Find the tags that belong to a concept, so that its trigger can stand for them.

A tag belongs to a concept if most pictures of it have the tag and other pictures seldom do. The
rate inside is that of the pictures that show this concept alone; the rate outside is that of other
pictures at the same levels, so that what all screenshots have does not count as a trait of someone
who is on screenshots only. Both rates are taken at the end of their 95 % interval that speaks
against the tag, so that few pictures decide nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lycoris_ext.data.queries import as_compared

THRESHOLD = 0.35
"""Rate inside a concept that a tag of it must have: the default of anime_screenshot_pipeline."""
LIFT = 2.0
"""Rate inside divided by rate outside that it must have."""
_Z = 1.645
"""Of a one-sided interval of 95 %."""


@dataclass(frozen=True)
class Shown:
    """What a picture shows: its concepts, the levels above them, and its tags as compared."""

    concepts: tuple[str, ...]
    above: tuple[str, ...]
    tags: frozenset[str]

    @classmethod
    def of(cls, levels: Sequence[str], concepts: Sequence[str], tags: Iterable[str]) -> Shown:
        """Make it of the levels, concepts and tags of a picture."""
        return cls(tuple(concepts), tuple(levels[:-1]), frozenset(map(as_compared, tags)))


@dataclass(frozen=True)
class CoreTag:
    """How often a tag stands inside and outside of a concept.

    Args:
        concept, tag: which.
        inside: share of the pictures that show this concept alone.
        outside: share of other pictures at the same levels.
        lift: rate inside divided by rate outside, both at the doubtful end of their intervals.
        is_core: whether the tag belongs to the concept.
    """

    concept: str
    tag: str
    inside: float
    outside: float
    lift: float
    is_core: bool


def find_core_tags(
    shown: Collection[Shown], threshold: float = THRESHOLD, lift: float = LIFT
) -> list[CoreTag]:
    """Return the tags that are frequent in pictures of a concept, and which belong to it.

    Args:
        shown: all pictures.
        threshold: the least rate inside.
        lift: the least rate inside divided by the rate outside.

    Returns:
        All tags whose rate inside is the least one or more, those of each concept by their rate:
        what the rule of anime_screenshot_pipeline takes, but for the words that it lists by hand.
    """
    concepts = sorted({concept for one in shown for concept in one.concepts})
    return [tag for concept in concepts for tag in _of(concept, shown, threshold, lift)]


def core_of(tags: Iterable[CoreTag]) -> dict[str, frozenset[str]]:
    """Return concept -> the tags that belong to it, as ``as_compared`` returns them."""
    found: dict[str, set[str]] = {}
    for one in tags:
        if one.is_core:
            found.setdefault(one.concept, set()).add(one.tag)
    return {concept: frozenset(tags) for concept, tags in found.items()}


def precision_and_recall(
    found: Mapping[str, Collection[str]], truth: Mapping[str, Collection[str]]
) -> tuple[float, float]:
    """Compare tags that were found with those that belong to the concepts that are known.

    Returns:
        The share of the tags found that belong, and of those that belong that were found; NaN
        where there are none.
    """
    known = {(concept, as_compared(tag)) for concept, tags in truth.items() for tag in tags}
    told = {(one, as_compared(tag)) for one in truth for tag in found.get(one, ())}
    both = len(known & told)
    return both / len(told) if told else math.nan, both / len(known) if known else math.nan


def _of(concept: str, shown: Collection[Shown], threshold: float, lift: float) -> list[CoreTag]:
    inside = [one for one in shown if one.concepts == (concept,)]
    others = [one for one in shown if concept not in one.concepts]
    outside = _at_levels(others, Counter(one.above for one in inside))
    number = len(inside)
    made = []
    for tag, times in Counter(tag for one in inside for tag in one.tags).items():
        rate = times / number
        if rate < threshold:
            continue
        share, pictures = outside.rate(tag)
        least, most = _bound(rate, number, -1), _bound(share, pictures, 1)
        made.append(
            CoreTag(
                concept=concept,
                tag=tag,
                inside=rate,
                outside=share,
                lift=least / most,
                is_core=least >= threshold and least / most >= lift,
            )
        )
    return sorted(made, key=lambda one: (-one.inside, one.tag))


@dataclass(frozen=True)
class _Outside:
    """Tags of other pictures, by the levels above them; weights are shares of the concept's own."""

    groups: Sequence[tuple[float, int, Counter[str]]]

    def rate(self, tag: str) -> tuple[float, int]:
        """Return the rate of a tag if the levels had the concept's shares, and the pictures."""
        share = sum(weight * tags[tag] / number for weight, number, tags in self.groups)
        return share, sum(number for _, number, _ in self.groups)


def _at_levels(others: Iterable[Shown], wanted: Counter[tuple[str, ...]]) -> _Outside:
    numbers: Counter[tuple[str, ...]] = Counter()
    tags: dict[tuple[str, ...], Counter[str]] = {}
    for one in others:
        numbers[one.above] += 1
        tags.setdefault(one.above, Counter()).update(one.tags)
    both = {above: number for above, number in wanted.items() if above in numbers}
    if not both:  # nobody else is there: all others are compared
        both = dict(numbers)
    whole = sum(both.values())
    return _Outside([(n / whole, numbers[above], tags[above]) for above, n in both.items()])


def _bound(rate: float, number: int, side: int) -> float:
    """Return the end of Wilson's interval for a rate, with the correction for small numbers.

    Args:
        rate: of ``number`` pictures.
        number: 0 says nothing at all: the interval is from 0 to 1.
        side: -1 for the lower end, 1 for the upper one.

    Source: Newcombe, Two-sided confidence intervals for the single proportion, 1998, method 4.
    """
    if not number:
        return (1 + side) / 2
    if rate in (0, 1) and (rate == 1) == (side == 1):
        return rate
    z2 = _Z * _Z
    root = z2 - 1 / number + 4 * number * rate * (1 - rate) + side * (2 - 4 * rate)
    ends = 2 * number * rate + z2 + side * (1 + _Z * math.sqrt(max(0.0, root)))
    return min(1.0, max(0.0, ends / (2 * (number + z2))))
