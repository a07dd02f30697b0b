"""The losses of a run: averaging them during training, and reading them from its event log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lycoris_ext.errors import DataError
from lycoris_ext.runs.events import read_events

SMOOTHING = 0.95
"""Weight of the previous average in the running average of losses that is shown to users."""

_LARGEST = 1e30


def running_average(average: float | None, loss: float) -> float:
    """Return the running average of the losses after one more step.

    Args:
        average: the average before this step; None at the first step.
        loss: of this step.
    """
    return loss if average is None else SMOOTHING * average + (1 - SMOOTHING) * loss


def average_in(events: Path) -> float | None:
    """Return the running average after the last step of an event log; None if it has no steps."""
    average = None
    for event in read_events(events):
        loss = finite(event.get("loss")) if event.get("event") == "step" else None
        average = average if loss is None else running_average(average, loss)
    return average


@dataclass(frozen=True)
class LossPoint:
    """Loss and learning rate of one optimizer step; the rate is the first parameter group's."""

    step: int
    loss: float
    learning_rate: float | None = None


def read_losses(events: Path) -> list[LossPoint]:
    """Read the losses from the event log of a run.

    If a step occurs more than once, because the run was resumed before it, the last one counts. A
    last line that was cut short is left out, and so is a step whose loss is no finite number.

    Args:
        events: NAME.events.jsonl.

    Returns:
        One point for each step, in order.

    Raises:
        DataError: the file does not exist, or holds no losses.
    """
    if not events.is_file():
        raise DataError("there is no such file", where=str(events), fix="name a run's events.jsonl")
    points: dict[int, LossPoint] = {}
    for event in read_events(events):
        loss = finite(event.get("loss"))
        if event.get("event") == "step" and loss is not None:
            rate = event.get("learning_rates")
            rate = next(iter(rate.values()), None) if isinstance(rate, dict) else rate
            step = event.get("step", 0)
            points[step] = LossPoint(step, loss, finite(rate))
    if not points:
        raise DataError(
            "no step of training is recorded here", where=str(events), fix="train first"
        )
    return [points[step] for step in sorted(points)]


def finite(value: object) -> float | None:
    """Return a value of an event as a number; None if it is none, or larger than any loss."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    return float(value) if abs(value) <= _LARGEST else None
