"""The picture on the Train node while it trains: the curve of the loss, and the last samples."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

from PIL import Image

from lycoris_ext.errors import DataError
from lycoris_ext.plots.curve import loss_curve
from lycoris_ext.runs.losses import LossPoint, read_losses
from lycoris_ext.training.report import StepReport
from lycoris_ext.training.run import Run

_SIZE = (720, 405)
_PAUSE = 2.0
"""The least number of seconds between two pictures."""
_SHARE = 50
"""Drawing takes at most one part in so many of the time; the curve of a long run costs more."""


class LiveCurve:
    """Draws the losses of a run now and then, with the last samples below them."""

    def __init__(self) -> None:
        self._points: list[LossPoint] = []
        self._samples: Image.Image | None = None
        self._next = 0.0

    def add(self, run: Run, report: StepReport) -> None:
        """Take the loss of a step; at the first one, also those from before a run was stopped."""
        if not self._points and report.step > 1:
            before = recorded_losses(run.paths.events)
            self._points = [point for point in before if point.step < report.step]
        rate = next(iter(report.rates.values()), None)
        self._points.append(LossPoint(report.step, report.loss, rate))

    def show(self, samples: Image.Image) -> None:
        """Take new samples, which are shown with the next step."""
        self._samples, self._next = samples, 0.0

    def picture(self, title: str, last: bool = False) -> Image.Image | None:
        """Return the picture if it is time for a new one, else None.

        Args:
            title: above the curve.
            last: it is time in any case, because the run ends.
        """
        now = monotonic()
        if not self._points or (now < self._next and not last):
            return None
        drawn = loss_curve(self._points, title, _SIZE)
        if self._samples is not None:
            drawn = _above(drawn, self._samples)
        took = monotonic() - now
        self._next = now + max(_PAUSE, _SHARE * took)
        return drawn


def recorded_losses(events: Path) -> list[LossPoint]:
    """Return the losses of a run; none if a user has deleted or damaged its log."""
    try:
        return read_losses(events)
    except DataError:
        return []


def _above(curve: Image.Image, samples: Image.Image) -> Image.Image:
    """Put two pictures one above the other, as wide as the curve."""
    height = round(samples.height * curve.width / samples.width)
    shown = Image.new("RGB", (curve.width, curve.height + height), "white")
    shown.paste(curve)
    shown.paste(samples.resize((curve.width, height)), (0, curve.height))
    return shown
