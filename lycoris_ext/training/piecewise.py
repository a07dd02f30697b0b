"""A learning rate that is multiplied by another factor from one step on to the next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.options import option
from lycoris_ext.training.schedule_base import Schedule, Span

_FIX = 'write it as "1:100,0.1:200,0.01": factor 1 before step 100, 0.1 before step 200, then 0.01'


@dataclass(frozen=True, init=False)
class PiecewiseConstant(Schedule):
    """The learning rate is multiplied by each factor of a list in turn."""

    follows_length: ClassVar[bool] = False
    lr_scheduler_step_rules: str = option(
        "",
        'Factors of the learning rate for piecewise_constant, as "1:100,0.1:200,0.01": 1 for the '
        "first 100 steps, 0.1 up to step 200, 0.01 afterwards.",
    )

    def contradictions(self) -> Iterator[LycorisExtError]:
        try:
            _ = self.rules
        except ValueError:
            yield ConfigError(
                f"lr_scheduler_step_rules is {self.lr_scheduler_step_rules!r}, expected factors "
                "with the steps up to which they hold, and a last factor",
                where="lr_scheduler_step_rules",
                fix=_FIX,
            )

    @property
    def rules(self) -> tuple[tuple[tuple[int, float], ...], float]:
        """The step up to which each factor holds with that factor, sorted; and the last factor.

        Raises:
            ValueError: the text says something else, or a factor is negative.
        """
        *parts, last = self.lr_scheduler_step_rules.split(",")
        rules = []
        for part in parts:
            factor, _, steps = part.partition(":")
            rules.append((int(steps), float(factor)))
        final = float(last)
        if not all(0 <= factor < float("inf") for factor in (final, *(f for _, f in rules))):
            raise ValueError
        return tuple(sorted(rules)), final

    def factor(self, at: Span) -> float:
        rules, last = self.rules
        return next((factor for steps, factor in rules if at.done < steps), last)
