"""Draw the loss curve of a run with Pillow, since ComfyUI has no matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

from PIL import Image, ImageDraw

from lycoris_ext.errors import DataError
from lycoris_ext.plots.colours import INK, SOFT_INK
from lycoris_ext.plots.fonts import font
from lycoris_ext.runs.losses import SMOOTHING, LossPoint

_PAPER = (255, 255, 255)
_LINE = (230, 233, 238)
_RAW = (190, 209, 236)
_SMOOTH = (33, 92, 183)
_RATE = (208, 110, 40)
_OVERSAMPLING = 2  # draw larger and shrink, because Pillow's lines are not anti-aliased


def smoothed(losses: Sequence[float], weight: float = SMOOTHING) -> list[float]:
    """Return the exponential moving average of losses, corrected for its start at 0 as in Adam.

    Args:
        losses: one loss per step.
        weight: weight of the previous average, 0 to 1.
    """
    smooth, mean, mass = [], 0.0, 0.0
    for loss in losses:
        mean = weight * mean + (1 - weight) * loss
        mass = weight * mass + (1 - weight)
        smooth.append(mean / mass)
    return smooth


def loss_curve(
    points: Sequence[LossPoint], title: str = "Training loss", size: tuple[int, int] = (960, 540)
) -> Image.Image:
    """Draw raw and smoothed loss over the steps, and the learning rate if it is not constant.

    Args:
        points: at least one recorded step, in order.
        title: text above the curve.
        size: (width, height) of the picture, in pixels.

    Returns:
        An RGB picture.

    Raises:
        DataError: there are no points.
    """
    if not points:
        raise DataError("there are no losses to draw", where="loss_curve", fix="train first")
    chart = _Chart.around(points, size)
    chart.frame(title, len(points))
    steps = [point.step for point in points]
    raw = [point.loss for point in points]
    smooth = smoothed(raw)
    chart.curve(steps, raw, _RAW, 1)
    rates = [point.learning_rate for point in points]
    known = [rate for rate in rates if rate is not None]
    changes = len(known) == len(points) and max(known) > min(known)
    if changes:
        top = max(known)
        chart.curve(steps, [chart.high * 0.94 * rate / top for rate in known], _RATE, 1.5)
    chart.curve(steps, smooth, _SMOOTH, 3)
    legend = [("each step", _RAW), (f"smoothed, ends at {smooth[-1]:.4f}", _SMOOTH)]
    if changes:
        legend.append((f"learning rate, 0 to {max(known):g}", _RATE))
    chart.legend(legend)
    return chart.canvas.reduce(_OVERSAMPLING)


@dataclass
class _Chart:
    """The drawing surface, `_OVERSAMPLING` times as large as the picture, and its axes."""

    canvas: Image.Image
    draw: ImageDraw.ImageDraw
    left: float
    top: float
    right: float
    bottom: float
    first: int
    last: int
    high: float  # of the loss axis, which starts at 0

    @classmethod
    def around(cls, points: Sequence[LossPoint], size: tuple[int, int]) -> _Chart:
        width, height = size[0] * _OVERSAMPLING, size[1] * _OVERSAMPLING
        canvas = Image.new("RGB", (width, height), _PAPER)
        unit = _OVERSAMPLING
        losses = sorted(point.loss for point in points)
        # Scale the axis to the 99th percentile, so that outliers do not flatten the curve.
        usual = max(losses[int(0.99 * (len(losses) - 1))] * 1.08, 1e-12)
        tick = _tick(usual, 8)
        high = tick * (int(usual / tick) + 1)
        return cls(
            canvas,
            ImageDraw.Draw(canvas),
            left=84 * unit,
            top=98 * unit,
            right=width - 32 * unit,
            bottom=height - 64 * unit,
            first=points[0].step,
            last=max(points[-1].step, points[0].step + 1),
            high=high,
        )

    def x(self, step: float) -> float:
        share = (step - self.first) / (self.last - self.first)
        return self.left + share * (self.right - self.left)

    def y(self, loss: float) -> float:
        return self.bottom - loss / self.high * (self.bottom - self.top)

    def frame(self, title: str, count: int) -> None:
        unit = _OVERSAMPLING
        self.draw.text((self.left, 24 * unit), title, font=font(24 * unit), fill=INK)
        tick = _tick(self.high, 8)
        for index in range(round(self.high / tick) + 1):
            y = self.y(index * tick)
            colour = SOFT_INK if index == 0 else _LINE
            self.draw.line((self.left, y, self.right, y), fill=colour, width=unit)
            self._note(self.left - 10 * unit, y, f"{index * tick:.6g}", "rm")
        tick = max(1.0, _tick(self.last - self.first, 8))
        step = tick * -(-self.first // tick)
        while step <= self.last:
            x = self.x(step)
            self.draw.line((x, self.bottom, x, self.bottom + 6 * unit), fill=SOFT_INK, width=unit)
            self._note(x, self.bottom + 10 * unit, f"{int(step)}", "ma")
            step += tick
        centre = (self.left + self.right) / 2
        self._note(centre, self.bottom + 36 * unit, f"optimizer step ({count} recorded)", "ma")

    def _note(self, x: float, y: float, text: str, anchor: str) -> None:
        self.draw.text((x, y), text, font=font(15 * _OVERSAMPLING), fill=SOFT_INK, anchor=anchor)

    def curve(
        self,
        steps: Sequence[int],
        values: Sequence[float],
        colour: tuple[int, int, int],
        width: float,
    ) -> None:
        path = [
            (self.x(step), max(self.y(value), self.top))
            for step, value in zip(steps, values, strict=True)
        ]
        thick = round(width * _OVERSAMPLING)
        if len(path) == 1:
            (x, y), radius = path[0], 2 * _OVERSAMPLING
            self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        else:
            self.draw.line(path, fill=colour, width=thick, joint="curve")

    def legend(self, entries: Sequence[tuple[str, tuple[int, int, int]]]) -> None:
        unit = _OVERSAMPLING
        x, y = self.left, 68 * unit
        for text, colour in entries:
            self.draw.line((x, y, x + 24 * unit, y), fill=colour, width=3 * unit)
            x += 32 * unit
            self._note(x, y, text, "lm")
            x += font(15 * unit).getlength(text) + 28 * unit


def _tick(span: float, most: int) -> float:
    """Return 1, 2 or 5 times a power of ten that divides `span` into at most `most` parts."""
    power = 10.0 ** floor(log10(span / most))
    return next(factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= most)
