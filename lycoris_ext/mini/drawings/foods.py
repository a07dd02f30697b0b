"""Functions that sketch eight foods and drinks in a given colour."""

from __future__ import annotations

from lycoris_ext.mini.drawings.sketch import (
    BLACK,
    WHITE,
    Colour,
    Sketch,
    arc,
    box,
    dark,
    light,
    oval,
    smooth,
)

WOOD: Colour = (160, 104, 62)
LEAF: Colour = (84, 168, 76)
CRUST: Colour = (232, 184, 116)
STEEL: Colour = (176, 184, 198)


def apple(s: Sketch, c: Colour) -> None:
    s.line(smooth([(50, 32), (51, 18), (57, 8)], False), WOOD, 4.6)
    s.fill(smooth([(56, 22), (70, 8), (88, 12), (76, 26)]), LEAF)
    s.fill(
        smooth(
            [
                (50, 30),
                (72, 24),
                (88, 42),
                (82, 74),
                (62, 92),
                (50, 88),
                (38, 92),
                (18, 74),
                (12, 42),
                (28, 24),
            ]
        ),
        c,
    )
    s.spot(oval(28, 46, 5, 9, 20), light(c, 0.65))


def cherry(s: Sketch, c: Colour) -> None:
    s.line(smooth([(60, 12), (40, 34), (30, 60)], False), LEAF, 3.6)
    s.line(smooth([(60, 12), (66, 36), (70, 64)], False), LEAF, 3.6)
    s.fill(smooth([(60, 12), (76, 2), (94, 14), (78, 24)]), LEAF)
    for x, y in ((29, 70), (71, 74)):
        s.fill(oval(x, y, 20, 20), c)
        s.spot(oval(x - 7, y - 7, 4, 5, 30), light(c, 0.7))


def carrot(s: Sketch, c: Colour) -> None:
    s.fill(smooth([(44, 30), (26, 16), (24, 4), (42, 14), (50, 28)]), LEAF)
    s.fill(smooth([(56, 30), (74, 16), (76, 4), (58, 14), (50, 28)]), LEAF)
    s.fill(smooth([(50, 28), (45, 12), (50, 2), (55, 12)]), LEAF)
    s.fill(smooth([(30, 30), (50, 25), (70, 30), (68, 50), (54, 92), (46, 92), (32, 50)]), c)
    for x0, x1, y in ((36, 50, 44), (52, 64, 54), (41, 52, 66)):
        s.line([(x0, y), (x1, y)], dark(c, 0.4), 2.6)


def mushroom(s: Sketch, c: Colour) -> None:
    s.fill(smooth([(38, 50), (62, 50), (66, 86), (50, 92), (34, 86)]), (250, 236, 210))
    s.fill(smooth([(50, 8), (80, 22), (94, 50), (80, 60), (20, 60), (6, 50), (20, 22)]), c)
    for x, y, r in ((50, 26, 9), (26, 40, 7), (74, 40, 7), (50, 50, 5)):
        s.spot(oval(x, y, r, r * 0.85), WHITE)


def cupcake(s: Sketch, c: Colour) -> None:
    s.fill([(22, 58), (78, 58), (69, 92), (31, 92)], (240, 190, 120))
    for x in (36, 50, 64):
        s.line([(x, 62), (50 + (x - 50) * 0.8, 90)], (190, 130, 70), 2.4)
    s.fill(oval(50, 52, 36, 13), c)
    s.fill(oval(50, 38, 26, 12), c)
    s.fill(oval(50, 25, 15, 10), c)
    s.fill(oval(50, 13, 8, 8), (226, 40, 56) if c[0] < 200 or c[1] > 100 else (250, 210, 60))


def ice_cream(s: Sketch, c: Colour) -> None:
    s.fill([(27, 48), (73, 48), (50, 97)], CRUST)
    for x in (38, 50):
        s.line([(x - 4, 54), (x + 12, 76)], (184, 124, 60), 2.2)
        s.line([(104 - x, 54), (88 - x, 76)], (184, 124, 60), 2.2)
    s.fill(oval(36, 38, 18, 17), c)
    s.fill(oval(64, 38, 18, 17), light(c, 0.55))
    s.fill(oval(50, 21, 18, 16), dark(c, 0.15))


def donut(s: Sketch, c: Colour) -> None:
    s.fill(oval(50, 54, 42, 38), CRUST)
    s.fill(
        smooth(
            [
                (50, 16),
                (78, 24),
                (90, 46),
                (84, 66),
                (70, 74),
                (50, 82),
                (30, 74),
                (16, 66),
                (10, 46),
                (22, 24),
            ]
        ),
        c,
    )
    s.fill(oval(50, 50, 13, 11), WHITE)
    for x, y, colour in (
        (30, 36, WHITE),
        (66, 30, BLACK),
        (76, 52, WHITE),
        (34, 64, BLACK),
        (62, 68, WHITE),
        (22, 52, BLACK),
    ):
        s.spot(oval(x, y, 4.4, 2.2, x * 7), colour)


def cup(s: Sketch, c: Colour) -> None:
    s.line(smooth([(38, 30), (32, 20), (40, 14), (36, 4)], False), STEEL, 3)
    s.line(smooth([(56, 30), (50, 20), (58, 14), (54, 4)], False), STEEL, 3)
    s.line(arc(72, 58, 17, 15, -80, 80), c, 7)
    s.fill(
        [
            *box(18, 36, 74, 70),
        ],
        c,
    )
    s.fill(smooth([(18, 60), (74, 60), (66, 86), (46, 90), (26, 86)]), c)
    s.fill(oval(46, 37, 28, 7), (104, 62, 40))


_ALL = (
    apple, cherry, carrot, mushroom, cupcake, ice_cream, donut, cup,
)  # fmt: skip
FOODS = {draw.__name__.replace("_", " "): draw for draw in _ALL}
