"""The losses of a run: averaged while it goes on, read from its events afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lycoris_ext.errors import DataError
from lycoris_ext.runs.events import read_events

SMOOTHING = 0.95
"""Weight of the past in an average of losses that somebody looks at."""


def running_average(average: float | None, loss: float) -> float:
    """The average after one more step; None before the first."""
    return loss if average is None else SMOOTHING * average + (1 - SMOOTHING) * loss


@dataclass(frozen=True)
class LossPoint:
    """One optimizer step."""

    step: int
    loss: float
    learning_rate: float | None = None


def read_losses(events: Path) -> list[LossPoint]:
    """Read the losses from a run's events.jsonl.

    A step that a resumed run did again counts once, as it was done last; a last line that a kill
    cut short is left out.

    Returns:
        One point a step, in order.

    Raises:
        DataError: the file is not there, or holds no losses.
    """
    if not events.is_file():
        raise DataError("there is no such file", where=str(events), fix="name a run's events.jsonl")
    points: dict[int, LossPoint] = {}
    for event in read_events(events):
        if event.get("event") == "step" and "loss" in event:
            rate = event.get("learning_rates")
            rate = next(iter(rate.values()), None) if isinstance(rate, dict) else rate
            step = int(event["step"])
            points[step] = LossPoint(
                step, float(event["loss"]), None if rate is None else float(rate)
            )
    if not points:
        raise DataError(
            "no step of training is recorded here", where=str(events), fix="train first"
        )
    return [points[step] for step in sorted(points)]
