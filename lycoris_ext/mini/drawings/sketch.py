"""Sketches: a subject's shapes and colours, independent of the drawing style.

Coordinates are in a square of 100 x 100 with y pointing down. `hands.py` renders a sketch in a
style.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

Point = tuple[float, float]
Colour = tuple[int, int, int]

BLACK: Colour = (38, 34, 48)
WHITE: Colour = (255, 255, 255)
COLOURS: dict[str, Colour] = {
    "red": (222, 52, 56),
    "orange": (245, 134, 32),
    "yellow": (250, 200, 40),
    "green": (70, 170, 80),
    "blue": (52, 116, 220),
    "purple": (140, 80, 196),
    "pink": (244, 126, 172),
    "brown": (150, 94, 58),
    "gray": (140, 146, 158),
}


def mix(colour: Colour, other: Colour, share: float) -> Colour:
    """Blend two colours; share 0 returns `colour`, 1 returns `other`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def light(colour: Colour, share: float = 0.6) -> Colour:
    """Blend a colour with white; share 1 is white."""
    return mix(colour, WHITE, share)


def dark(colour: Colour, share: float = 0.3) -> Colour:
    """Blend a colour with black; share 1 is black."""
    return mix(colour, BLACK, share)


def oval(x: float, y: float, across: float, down: float, turn: float = 0.0) -> list[Point]:
    """Return the outline of an ellipse.

    Args:
        x, y: its centre.
        across, down: its half axes.
        turn: rotation in degrees.
    """
    c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    corners = [
        (across * math.cos(a), down * math.sin(a)) for a in (math.tau * i / 40 for i in range(40))
    ]
    return [(x + c * u - s * v, y + s * u + c * v) for u, v in corners]


def arc(x: float, y: float, across: float, down: float, start: float, end: float) -> list[Point]:
    """Return part of an ellipse's outline.

    Args:
        x, y: centre of the ellipse.
        across, down: its half axes.
        start, end: angles in degrees, clockwise from the right.
    """
    angles = (math.radians(start + (end - start) * i / 24) for i in range(25))
    return [(x + across * math.cos(a), y + down * math.sin(a)) for a in angles]


def box(left: float, top: float, right: float, bottom: float, corner: float = 0.0) -> list[Point]:
    """Return the outline of a rectangle; `corner` is the radius of its rounded corners."""
    if corner <= 0:
        return [(left, top), (right, top), (right, bottom), (left, bottom)]
    lower = ((right - corner, bottom - corner, 0), (left + corner, bottom - corner, 90))
    upper = ((left + corner, top + corner, 180), (right - corner, top + corner, 270))
    return [p for x, y, a in (*lower, *upper) for p in arc(x, y, corner, corner, a, a + 90)]


def smooth(points: Sequence[Point], closed: bool = True) -> list[Point]:
    """Return a smooth curve through the points (Catmull-Rom spline)."""
    count = len(points)
    curve: list[Point] = []
    for i in range(count if closed else count - 1):
        near = [
            points[j % count if closed else min(max(j, 0), count - 1)] for j in range(i - 1, i + 3)
        ]
        for step in range(10):
            t = step / 10
            weights = (
                -t + 2 * t**2 - t**3,
                2 - 5 * t**2 + 3 * t**3,
                t + 4 * t**2 - 3 * t**3,
                t**3 - t**2,
            )
            x = sum(w * p[0] for w, p in zip(weights, near, strict=True)) / 2
            y = sum(w * p[1] for w, p in zip(weights, near, strict=True)) / 2
            curve.append((x, y))
    return curve if closed else [*curve, points[-1]]


def star(
    x: float, y: float, outer: float, inner: float, rays: int = 5, turn: float = -90
) -> list[Point]:
    """Return the outline of a star around (x, y).

    Args:
        x, y: its centre.
        outer, inner: radius of the tips and of the corners between them.
        rays: number of tips.
        turn: angle of the first tip in degrees; -90 points up.
    """
    angles = [math.radians(turn + 180 * i / rays) for i in range(2 * rays)]
    radii = [outer, inner] * rays
    return [(x + r * math.cos(a), y + r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


def mirrored(points: Sequence[Point], middle: float = 50.0) -> list[Point]:
    """Return an outline mirrored at the vertical line x = `middle`."""
    return [(2 * middle - x, y) for x, y in points]


@dataclass(frozen=True)
class Shape:
    """A filled outline, or a line.

    Args:
        points: the outline or line.
        colour: its colour.
        width: width of the line; 0 fills the outline.
        fine: whether this is a small part, such as an eye, that is never outlined or shaded.
    """

    points: list[Point]
    colour: Colour
    width: float = 0.0
    fine: bool = False


@dataclass
class Sketch:
    """A subject's shapes, and the positions of accessories that it can wear.

    Args:
        shapes: the shapes, from back to front.
        hat: (x, y, size) of a hat: the middle of its lower edge, and its size, where 1 fits a head
            50 wide; None if the subject wears no hat.
        eyes: (x, y, half distance) of the eyes, for glasses; None if it wears none.
        neck: position of a bow tie; None if it wears none.
    """

    shapes: list[Shape] = field(default_factory=list)
    hat: tuple[float, float, float] | None = None
    eyes: tuple[float, float, float] | None = None
    neck: Point | None = None

    def fill(self, points: list[Point], colour: Colour) -> None:
        """Add a filled shape, which styles may outline or shade."""
        self.shapes.append(Shape(points, colour))

    def both(self, points: list[Point], colour: Colour) -> None:
        """Add a filled shape and its mirror image at x = 50."""
        self.fill(points, colour)
        self.fill(mirrored(points), colour)

    def spot(self, points: list[Point], colour: Colour) -> None:
        """Add a small filled shape, which no style outlines or shades."""
        self.shapes.append(Shape(points, colour, fine=True))

    def line(self, points: list[Point], colour: Colour, width: float) -> None:
        """Add a line."""
        self.shapes.append(Shape(points, colour, width))

    def face(self, x: float, y: float, apart: float, size: float = 4.0, smile: float = 5.0) -> None:
        """Add two eyes and a mouth, and set the position for glasses.

        Args:
            x, y: middle between the eyes.
            apart: half their distance.
            size: radius of an eye.
            smile: half the mouth's width; 0 leaves the mouth out.
        """
        for side in (-1, 1):
            self.spot(oval(x + side * apart, y, size, size * 1.15), BLACK)
            self.spot(
                oval(x + side * apart + size * 0.3, y - size * 0.4, size * 0.36, size * 0.36), WHITE
            )
        if smile:
            self.line(arc(x, y + size * 1.5, smile, smile * 0.9, 20, 160), BLACK, 2.2)
        self.eyes = (x, y, apart)
