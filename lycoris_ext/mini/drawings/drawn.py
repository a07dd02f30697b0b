"""Pictures drawn by code: random combinations of subject, colour, accessory and background.

A picture is a function of (style, subject, seed). Since everything is combined with everything, a
small model learns what "party hat" or "blue" means instead of memorising pictures, and can draw
combinations and styles that no training picture shows.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from lycoris_ext.mini.drawings.creatures import CREATURES, mimo
from lycoris_ext.mini.drawings.foods import FOODS
from lycoris_ext.mini.drawings.hands import put_on_paper
from lycoris_ext.mini.drawings.pictures import SIZE, Picture
from lycoris_ext.mini.drawings.sketch import (
    BLACK,
    COLOURS,
    WHITE,
    Colour,
    Point,
    Shape,
    Sketch,
    box,
    dark,
    oval,
    star,
)
from lycoris_ext.mini.drawings.things import THINGS

SUBJECTS = {**CREATURES, **THINGS, **FOODS}
PAPERS: dict[str, Colour] = {
    "white": (255, 255, 255),
    "blue": (178, 214, 248),
    "green": (190, 230, 178),
    "pink": (252, 206, 218),
    "yellow": (255, 240, 170),
    "purple": (216, 200, 244),
    "night": (40, 44, 92),
}
ACCESSORIES = ("party hat", "top hat", "crown", "glasses", "bow tie")


def _accessory(s: Sketch, name: str, colour: Colour) -> bool:
    """Add an accessory to a sketch; return False if its subject cannot wear it."""
    if name == "glasses" and s.eyes is not None:
        x, y, apart = s.eyes
        ring = max(7.5, apart * 0.72)
        for side in (-1, 1):
            hoop = oval(x + side * apart, y, ring, ring)
            s.line([*hoop, hoop[0]], BLACK, 3.4)
        s.line([(x - apart + ring, y), (x + apart - ring, y)], BLACK, 3.4)
    elif name == "bow tie" and s.neck is not None:
        x, y = s.neck
        for side in (-1, 1):
            s.fill([(x, y), (x + side * 17, y - 9), (x + side * 17, y + 9)], colour)
        s.fill(oval(x, y, 4.6, 5), dark(colour))
    elif s.hat is not None and name in ("party hat", "top hat", "crown"):
        x, y, size = s.hat[0], s.hat[1], 1.25 * s.hat[2]
        if name == "party hat":
            s.fill([(x - 17 * size, y + 3), (x + 17 * size, y + 3), (x, y - 30 * size)], colour)
            s.spot(oval(x, y - 30 * size, 5 * size, 5 * size), WHITE)
        elif name == "top hat":
            s.fill(box(x - 16 * size, y - 28 * size, x + 16 * size, y + 2), (58, 54, 70))
            s.fill(box(x - 26 * size, y - 2, x + 26 * size, y + 5, 3), (58, 54, 70))
            s.spot(box(x - 16 * size, y - 9 * size, x + 16 * size, y - 3), colour)
        else:
            top, low = y - 24 * size, y + 4
            points = [
                (-20, low),
                (-23, top),
                (-10, y - 9 * size),
                (0, top - 3),
                (10, y - 9 * size),
                (23, top),
                (20, low),
            ]
            s.fill([(x + dx * size, py) for dx, py in points], (252, 206, 60))
    else:
        return False
    return True


def _posed(shapes: Sequence[Shape], rng: random.Random, room_above: bool) -> list[Shape]:
    """Return all shapes slightly rotated, scaled and moved, and mirrored half of the time."""
    angle, size = math.radians(rng.uniform(-6, 6)), rng.uniform(0.84, 0.94) - 0.1 * room_above
    flip = -1 if rng.random() < 0.5 else 1
    right, down = rng.uniform(-3, 3), rng.uniform(-3, 3) + 6 * room_above
    c, s = size * math.cos(angle), size * math.sin(angle)

    def move(point: Point) -> Point:
        x, y = flip * (point[0] - 50), point[1] - 50
        return 50 + right + c * x - s * y, 50 + down + s * x + c * y

    return [
        Shape([move(p) for p in shape.points], shape.colour, shape.width * size, shape.fine)
        for shape in shapes
    ]


def _stars(rng: random.Random) -> list[Shape]:
    """Return the stars of a night sky, placed near the picture's edges."""
    places = [(10, 14), (88, 12), (93, 60), (7, 66), (30, 6), (66, 95)]
    return [
        Shape(
            star(x + rng.uniform(-3, 3), y + rng.uniform(-3, 3), 4.4, 1.8),
            (255, 236, 150),
            fine=True,
        )
        for x, y in places
    ]


class DrawnSource:
    """The `PictureSource` of pictures drawn by code, in three styles."""

    name = "drawn"
    base_styles: tuple[str, ...] = ("flat", "shaded")
    learned_style = "ink"
    character = "mimo"
    subjects = tuple(SUBJECTS)
    learned_subjects = tuple(SUBJECTS)[::2]

    def draw(self, style: str, subject: str, seed: int) -> Picture:
        """Draw a subject with random colour and background, sometimes with an accessory."""
        rng = random.Random(f"{style}/{subject}/{seed}")
        colour = rng.choice(list(COLOURS))
        sketch = Sketch()
        SUBJECTS[subject](sketch, COLOURS[colour])
        tags = [colour]
        hat = False
        accessory = rng.choice(ACCESSORIES)
        if rng.random() < 0.5 and _accessory(
            sketch, accessory, COLOURS[rng.choice([c for c in COLOURS if c != colour])]
        ):
            tags.append(accessory)
            hat = accessory in ("party hat", "top hat", "crown")
        return self._finish(style, subject, sketch, tags, rng, hat)

    def draw_character(self, style: str, seed: int) -> Picture:
        """Draw the character mimo in a random pose, with a scarf of random colour."""
        rng = random.Random(f"{style}/{self.character}/{seed}")
        scarf, pose = rng.choice([c for c in COLOURS if c != "green"]), rng.randrange(3)
        sketch = Sketch()
        mimo(sketch, COLOURS[scarf], pose)
        tags = [f"{scarf} scarf", ("arms down", "waving", "cheering")[pose]]
        return self._finish(style, self.character, sketch, tags, rng, False)

    def _finish(
        self,
        style: str,
        subject: str,
        sketch: Sketch,
        tags: list[str],
        rng: random.Random,
        hat: bool,
    ) -> Picture:
        paper = rng.choice(list(PAPERS))
        shapes = _posed(sketch.shapes, rng, hat)
        if paper == "night":
            shapes = _stars(rng) + shapes
        tags.append("night sky" if paper == "night" else f"{paper} background")
        return Picture(
            put_on_paper(style, PAPERS[paper], shapes, SIZE), style, subject, tuple(tags)
        )
