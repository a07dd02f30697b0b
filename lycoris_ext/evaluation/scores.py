"""Shares of right answers with confidence intervals, and limits that they must keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from lycoris_ext.errors import ConfigError

#: Normal quantile of a two-sided 95 % interval.
_Z = 1.959963984540054


@dataclass(frozen=True)
class Share:
    """The share of right answers: `count` of `total`.

    Raises:
        ConfigError: the total is 0, or the count is not between 0 and the total.
    """

    count: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.count <= self.total or self.total == 0:
            raise ConfigError(
                f"{self.count} of {self.total} is no share",
                where="Share",
                fix="judge at least one picture",
            )

    @property
    def value(self) -> float:
        """The share, 0 to 1."""
        return self.count / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """(low, high) of Wilson's 95 % confidence interval, 0 to 1.

        It is reliable for small counts and for shares near 0 and 1.

        Source: E. B. Wilson 1927, J. Am. Stat. Assoc. 22, 209-212.
        """
        n, p, z = self.total, self.value, _Z
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, centre - half), min(1.0, centre + half)

    def to_json(self) -> dict[str, Any]:
        """Return the share, its counts and its interval as JSON values."""
        return {
            "share": round(self.value, 4),
            "count": self.count,
            "total": self.total,
            "interval_95": [round(edge, 4) for edge in self.interval],
        }

    def __str__(self) -> str:
        return f"{self.value:.0%} ({self.count}/{self.total})"


def matches(predicted: Sequence[str], wanted: Sequence[str] | str) -> Share:
    """Return the share of a classifier's answers that are right.

    Args:
        predicted: the classifier's answer for each picture.
        wanted: the right answer for each picture, or one answer that is right for all.

    Raises:
        ConfigError: the two have different lengths, or there are no pictures.
    """
    answers = [wanted] * len(predicted) if isinstance(wanted, str) else list(wanted)
    if len(answers) != len(predicted):
        raise ConfigError(
            f"{len(predicted)} answers of the judge and {len(answers)} right answers",
            where="matches",
            fix="give one right answer per picture",
        )
    return Share(sum(a == b for a, b in zip(predicted, answers, strict=True)), len(answers))


@dataclass(frozen=True)
class Criterion:
    """A score with the limit that it must keep.

    Args:
        name: what the score measures.
        value: the score.
        limit: the limit.
        sign: ">=" or "<=": how the value must compare with the limit.
        passed: whether it does.
    """

    name: str
    value: float
    limit: float
    sign: str
    passed: bool

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON values, with the value rounded to four digits."""
        return {
            "name": self.name,
            "value": round(self.value, 4),
            "must_be": f"{self.sign} {self.limit:g}",
            "passed": self.passed,
        }


def at_least(name: str, value: float, limit: float) -> Criterion:
    """Make a criterion for a score that must not be below `limit`."""
    return Criterion(name, value, limit, ">=", value >= limit)


def at_most(name: str, value: float, limit: float) -> Criterion:
    """Make a criterion for a score that must not be above `limit`."""
    # Allow for rounding: 0.9 - 0.8 is a little more than 0.1 in binary.
    return Criterion(name, value, limit, "<=", value <= limit + 1e-9)
