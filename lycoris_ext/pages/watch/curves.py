"""The numbers of a run's event log, read as the log grows, and few enough of them for a chart."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from lycoris_ext.files import cannot_read, open_file
from lycoris_ext.runs.events import Event, events_in
from lycoris_ext.runs.losses import finite, running_average

MOST_POINTS = 600
"""Points of a curve: a chart has hardly more pixels."""
BAND_POINTS = 100
"""Points of the band between the extremes of the loss, which varies from step to step."""
TIMED = 50
"""Steps whose median time tells how long the rest of a run takes."""

Point = tuple[int, float, float, float]


class Curve:
    """Values of one number of a run by step, in order."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.values: list[float] = []

    def add(self, step: int, value: float) -> None:
        """Add a value; those of this step and later ones were trained again, and go."""
        if self.steps and step <= self.steps[-1]:
            place = bisect_left(self.steps, step)
            del self.steps[place:], self.values[place:]
        self.steps.append(step)
        self.values.append(value)

    def points(self, most: int = MOST_POINTS) -> list[Point]:
        """Return (step, smallest, largest, mean) of at most ``most`` stretches of equal length.

        The extremes of a stretch stay, so that no peak is lost.
        """
        number = len(self.steps)
        size = max(1, -(-number // most))
        return [
            _point(self.steps[low : low + size], self.values[low : low + size])
            for low in range(0, number, size)
        ]


def _point(steps: Sequence[int], values: Sequence[float]) -> Point:
    return steps[-1], min(values), max(values), sum(values) / len(values)


class EventCurves:
    """The curves of a run's event log; ``refresh`` reads what was added since.

    Args:
        path: NAME.events.jsonl.

    Attributes:
        curves: by name: "loss", "loss, smoothed", "gradient norm", "rate of unet", and others.
        step: the last finished step.
        ended: how the run ended, "finished", "stopped" or "diverged"; "" while it goes on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begin()

    def _begin(self) -> None:
        self.curves: dict[str, Curve] = {}
        self.step, self.ended = 0, ""
        self._average: float | None = None
        self._times: list[float] = []
        self._read, self._file, self._rest = 0, (0, 0), b""

    def refresh(self) -> None:
        """Read the lines that were added since the last call.

        A run that goes on after a stop replaces its log: then it is read from its beginning.

        Raises:
            DataError: the file cannot be opened.
        """
        try:
            with open_file(self.path) as file:
                found = os.fstat(file.fileno())
                same = (found.st_dev, found.st_ino) == self._file
                if not same or found.st_size < self._read:
                    self._begin()
                    self._file = (found.st_dev, found.st_ino)
                file.seek(self._read)
                added = file.read()
        except OSError as error:
            raise cannot_read(self.path, error) from error
        self._read += len(added)
        # A last line without its end may be half of one.
        *whole, self._rest = (self._rest + added).split(b"\n")
        for event in events_in(b"\n".join(whole)):
            self._add(event)

    def _add(self, event: Event) -> None:
        kind, step = event.get("event"), event.get("step", 0)
        self.ended = kind if kind in ("finished", "stopped", "diverged") else ""
        if kind == "step":
            self.step = step
            self._timed(finite(event.get("time")))
            loss = finite(event.get("loss"))
            if loss is not None:
                self._average = running_average(self._average, loss)
                self._put("loss, smoothed", step, self._average)
        if kind in ("step", "validation"):
            for name, value in _numbers(event):
                self._put(name, step, value)

    def _put(self, name: str, step: int, value: float) -> None:
        self.curves.setdefault(name, Curve()).add(step, value)

    def _timed(self, now: float | None) -> None:
        if now is not None:
            self._times = [*self._times[-TIMED:], now]

    def seconds_a_step(self) -> float | None:
        """Return the median time of the last steps in seconds; None if the log has no times."""
        waits = [b - a for a, b in zip(self._times, self._times[1:], strict=False) if b >= a]
        return median(waits) if waits else None


def _numbers(event: Event) -> Iterator[tuple[str, float]]:
    found = {"loss": event.get("loss"), "gradient norm": event.get("grad_norm")}
    found["layers scaled down"] = event.get("scaled_layers")
    for key, text in (
        ("learning_rates", "rate of {}"),
        ("true_rates", "true rate of {}"),
        ("losses", "{}"),
    ):
        more = event.get(key)
        for name, value in more.items() if isinstance(more, Mapping) else ():
            found[text.format(name)] = value
    for name, value in found.items():
        number = finite(value)
        if number is not None:
            yield name, number
