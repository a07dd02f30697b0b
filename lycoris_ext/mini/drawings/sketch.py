"""A drawing before anyone has given it a style: outlines, colours and where accessories belong.

All coordinates are in a square of 100 x 100 with y pointing down. A subject is the same list of
shapes in every style; what a style does with the shapes is in `hands.py`.
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
    """`colour` moved towards `other` by a share from 0 to 1."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def light(colour: Colour, share: float = 0.6) -> Colour:
    """A paler tone of the same hue."""
    return mix(colour, WHITE, share)


def dark(colour: Colour, share: float = 0.3) -> Colour:
    """A deeper tone of the same hue."""
    return mix(colour, BLACK, share)


def oval(x: float, y: float, across: float, down: float, turn: float = 0.0) -> list[Point]:
    """An ellipse with these half axes, turned by `turn` degrees."""
    c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    corners = [
        (across * math.cos(a), down * math.sin(a)) for a in (math.tau * i / 40 for i in range(40))
    ]
    return [(x + c * u - s * v, y + s * u + c * v) for u, v in corners]


def arc(x: float, y: float, across: float, down: float, start: float, end: float) -> list[Point]:
    """Part of an ellipse's edge, from one angle to another in degrees, clockwise from the right."""
    angles = (math.radians(start + (end - start) * i / 24) for i in range(25))
    return [(x + across * math.cos(a), y + down * math.sin(a)) for a in angles]


def box(left: float, top: float, right: float, bottom: float, corner: float = 0.0) -> list[Point]:
    """A rectangle with rounded corners."""
    if corner <= 0:
        return [(left, top), (right, top), (right, bottom), (left, bottom)]
    lower = ((right - corner, bottom - corner, 0), (left + corner, bottom - corner, 90))
    upper = ((left + corner, top + corner, 180), (right - corner, top + corner, 270))
    return [p for x, y, a in (*lower, *upper) for p in arc(x, y, corner, corner, a, a + 90)]


def smooth(points: Sequence[Point], closed: bool = True) -> list[Point]:
    """A round curve through the points (Catmull-Rom)."""
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
    """A star with one ray pointing up."""
    angles = [math.radians(turn + 180 * i / rays) for i in range(2 * rays)]
    radii = [outer, inner] * rays
    return [(x + r * math.cos(a), y + r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


def mirrored(points: Sequence[Point], middle: float = 50.0) -> list[Point]:
    """The same outline on the other side of a vertical line."""
    return [(2 * middle - x, y) for x, y in points]


@dataclass(frozen=True)
class Shape:
    """One filled outline, or a line where `width` is set.

    `fine` marks eyes, cheeks and other small parts that no style outlines or shades.
    """

    points: list[Point]
    colour: Colour
    width: float = 0.0
    fine: bool = False


@dataclass
class Sketch:
    """Shapes from back to front, and where accessories sit if the subject can wear any.

    Args:
        hat: middle of a hat's lower edge, and the hat's size (1 fits a head as wide as half the
            square).
        eyes: middle between the eyes, and half their distance.
        neck: where a bow tie sits.
    """

    shapes: list[Shape] = field(default_factory=list)
    hat: tuple[float, float, float] | None = None
    eyes: tuple[float, float, float] | None = None
    neck: Point | None = None

    def fill(self, points: list[Point], colour: Colour) -> None:
        """Add a part of the body: outlined and shaded where the style does so."""
        self.shapes.append(Shape(points, colour))

    def both(self, points: list[Point], colour: Colour) -> None:
        """Add a part and its mirror image."""
        self.fill(points, colour)
        self.fill(mirrored(points), colour)

    def spot(self, points: list[Point], colour: Colour) -> None:
        """Add a small part that stays plain in every style."""
        self.shapes.append(Shape(points, colour, fine=True))

    def line(self, points: list[Point], colour: Colour, width: float) -> None:
        """Add a line."""
        self.shapes.append(Shape(points, colour, width))

    def face(self, x: float, y: float, apart: float, size: float = 4.0, smile: float = 5.0) -> None:
        """Two eyes with a glint and, unless `smile` is 0, a mouth; remembers where glasses go."""
        for side in (-1, 1):
            self.spot(oval(x + side * apart, y, size, size * 1.15), BLACK)
            self.spot(
                oval(x + side * apart + size * 0.3, y - size * 0.4, size * 0.36, size * 0.36), WHITE
            )
        if smile:
            self.line(arc(x, y + size * 1.5, smile, smile * 0.9, 20, 160), BLACK, 2.2)
        self.eyes = (x, y, apart)
