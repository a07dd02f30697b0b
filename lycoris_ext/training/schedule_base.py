"""What a schedule is: its options, and a formula for the learning rate of a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lycoris_ext.options import Section


@dataclass(frozen=True)
class Span:
    """The position of a step after the warm-up, for the formulas of schedules.

    Args:
        done: steps since the end of the warm-up.
        length: steps from the end of the warm-up to the end of the run.
        warmup: steps of the warm-up.
        total: steps of the whole run.
        learning_rate: of the run, before the schedule.
    """

    done: int
    length: int
    warmup: int
    total: int
    learning_rate: float

    @property
    def progress(self) -> float:
        """From 0 at the end of the warm-up to 1 at the end of the run."""
        return min(1.0, self.done / max(1, self.length))


@dataclass(frozen=True, init=False)
class Schedule(Section):
    """Base of all schedules: a schedule is its options and a formula.

    Attributes:
        follows_length: whether the formula depends on the length of the run.
    """

    follows_length: ClassVar[bool] = True

    @property
    def depends_on_length(self) -> bool:
        """Whether the learning rates change, from the start, if the run is made longer."""
        return self.follows_length

    def warmup(self, total: int) -> int:
        """Return the number of warm-up steps in a run of ``total`` steps."""
        return 0

    def rising(self, share: float) -> float:
        """Return the factor of the learning rate during the warm-up.

        Args:
            share: of the warm-up that is over, from 0 to 1.
        """
        return share

    def factor(self, at: Span) -> float:
        """Return the factor of the learning rate for a step after the warm-up, 0 or more."""
        raise TypeError(f"{type(self).__name__} has no formula")
