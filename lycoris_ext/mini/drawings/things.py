"""Functions that sketch twenty things, plants and sights in a given colour."""

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
    star,
)

WOOD: Colour = (160, 104, 62)
LEAF: Colour = (84, 168, 76)
GLASS: Colour = (176, 222, 246)
STEEL: Colour = (176, 184, 198)


def house(s: Sketch, c: Colour) -> None:
    s.fill(box(66, 16, 77, 42), dark(c, 0.4))
    s.fill(box(18, 46, 82, 90), (252, 232, 196))
    s.fill([(6, 50), (50, 10), (94, 50)], c)
    s.fill(box(42, 62, 60, 90), WOOD)
    s.fill(box(24, 58, 37, 72), GLASS)
    s.fill(box(66, 58, 79, 72), GLASS)
    s.spot(oval(56, 76, 2, 2), (250, 220, 90))


def car(s: Sketch, c: Colour) -> None:
    s.fill(smooth([(20, 50), (32, 24), (66, 24), (82, 50)]), c)
    s.fill([(30, 48), (37, 31), (48, 31), (48, 48)], GLASS)
    s.fill([(53, 48), (53, 31), (64, 31), (73, 48)], GLASS)
    s.fill(box(5, 46, 95, 73, 10), c)
    s.fill(oval(90, 56, 4, 5), (255, 232, 120))
    for x in (27, 73):
        s.fill(oval(x, 73, 13, 13), BLACK)
        s.fill(oval(x, 73, 6, 6), STEEL)


def boat(s: Sketch, c: Colour) -> None:
    s.line([(50, 8), (50, 66)], WOOD, 4.4)
    s.fill(smooth([(54, 10), (78, 32), (88, 58), (54, 58)]), WHITE)
    s.fill([(46, 18), (46, 58), (18, 58)], light(c, 0.5))
    s.fill([(8, 64), (92, 64), (78, 86), (22, 86)], c)
    s.line([(14, 72), (86, 72)], WHITE, 3)


def rocket(s: Sketch, c: Colour) -> None:
    s.fill(smooth([(40, 78), (50, 99), (60, 78)]), (250, 160, 40))
    s.fill(smooth([(34, 54), (16, 72), (18, 88), (38, 76)]), c)
    s.fill(smooth([(66, 54), (84, 72), (82, 88), (62, 76)]), c)
    s.fill(
        smooth([(50, 4), (68, 28), (70, 56), (62, 80), (38, 80), (30, 56), (32, 28)]),
        (236, 240, 246),
    )
    s.fill(smooth([(50, 4), (64, 22), (66, 30), (34, 30), (36, 22)]), c)
    s.fill(oval(50, 46, 10, 10), GLASS)


def hot_air_balloon(s: Sketch, c: Colour) -> None:
    s.line([(36, 60), (43, 80)], WOOD, 2)
    s.line([(64, 60), (57, 80)], WOOD, 2)
    s.fill(smooth([(50, 5), (78, 16), (82, 42), (62, 68), (38, 68), (18, 42), (22, 16)]), c)
    s.fill(
        smooth([(50, 5), (62, 20), (63, 44), (55, 68), (45, 68), (37, 44), (38, 20)]), light(c, 0.7)
    )
    s.fill(box(40, 79, 60, 95, 3), WOOD)


def tree(s: Sketch, c: Colour) -> None:
    s.fill([(43, 60), (57, 60), (60, 94), (40, 94)], WOOD)
    for x, y, r in ((27, 48, 20), (73, 48, 20), (50, 27, 23), (50, 50, 22)):
        s.fill(oval(x, y, r, r), c)
    for x, y in ((34, 30), (64, 40), (30, 54), (72, 58)):
        s.line(arc(x, y, 8, 7, 180, 290), dark(c, 0.35), 2.6)


def flower(s: Sketch, c: Colour) -> None:
    s.line(smooth([(50, 50), (52, 74), (50, 96)], False), LEAF, 5)
    s.fill(smooth([(52, 84), (66, 68), (82, 70), (70, 84)]), LEAF)
    s.fill(smooth([(50, 90), (36, 74), (20, 76), (32, 90)]), LEAF)
    for x, y in star(50, 36, 21, 21, rays=3):
        s.fill(oval(x, y, 12, 12), c)
    s.fill(oval(50, 36, 12, 12), (252, 214, 70) if c[2] > 60 else (150, 84, 40))


def cactus(s: Sketch, c: Colour) -> None:
    s.line([(32, 52), (20, 52), (20, 34)], c, 11)
    s.line([(68, 44), (80, 44), (80, 26)], c, 11)
    s.fill(box(37, 10, 63, 78, 13), c)
    for x in (45, 55):
        s.line([(x, 22), (x, 66)], light(c, 0.55), 2.2)
    s.fill([(26, 68), (74, 68), (67, 94), (33, 94)], (206, 108, 66))
    s.fill(box(22, 64, 78, 74, 3), (224, 130, 84))


def umbrella(s: Sketch, c: Colour) -> None:
    s.line([(50, 8), (50, 80)], WOOD, 4)
    s.line(arc(58, 80, 8, 10, 0, 180), WOOD, 4)
    hem = [p for x in (79, 60, 40, 21) for p in arc(x, 52, 10, 7, 360, 180)]
    s.fill([*arc(50, 52, 41, 38, 180, 360), *hem], c)
    s.fill([*arc(50, 52, 14, 38, 180, 360), *arc(50, 52, 14, 7, 360, 180)], light(c, 0.5))


def gift(s: Sketch, c: Colour) -> None:
    ribbon = (250, 214, 70) if c[2] > 60 else (220, 60, 80)
    s.fill(box(14, 46, 86, 92, 3), c)
    s.fill(box(43, 46, 57, 92), ribbon)
    s.fill(box(8, 32, 92, 50, 3), light(c, 0.25))
    s.fill(box(43, 32, 57, 50), ribbon)
    s.fill(smooth([(50, 32), (36, 8), (18, 16), (26, 30)]), ribbon)
    s.fill(smooth([(50, 32), (64, 8), (82, 16), (74, 30)]), ribbon)


def bell(s: Sketch, c: Colour) -> None:
    s.fill(oval(50, 13, 7, 7), dark(c, 0.3))
    s.fill(oval(50, 86, 10, 9), dark(c, 0.4))
    s.fill(
        smooth([(50, 14), (68, 24), (74, 54), (86, 76), (50, 80), (14, 76), (26, 54), (32, 24)]), c
    )
    s.fill(box(10, 70, 90, 82, 5), dark(c, 0.15))


def key(s: Sketch, c: Colour) -> None:
    s.line([(46, 50), (93, 50)], c, 9)
    s.line([(74, 50), (74, 70)], c, 8)
    s.line([(89, 50), (89, 66)], c, 8)
    s.line(oval(29, 50, 19, 19) + oval(29, 50, 19, 19)[:1], c, 10)


def lamp(s: Sketch, c: Colour) -> None:
    s.line([(50, 46), (50, 84)], STEEL, 6)
    s.fill(smooth([(28, 92), (34, 82), (66, 82), (72, 92)]), STEEL)
    s.fill(oval(50, 54, 9, 10), (255, 236, 130))
    s.fill([(34, 10), (66, 10), (88, 52), (12, 52)], c)
    s.line([(72, 52), (72, 68)], BLACK, 2)


def guitar(s: Sketch, c: Colour) -> None:
    s.line([(50, 12), (50, 56)], WOOD, 8)
    s.fill(box(42, 3, 58, 17, 3), dark(WOOD, 0.4))
    body = [
        (50, 40),
        (66, 42),
        (66, 56),
        (78, 74),
        (66, 94),
        (50, 96),
        (34, 94),
        (22, 74),
        (34, 56),
        (34, 42),
    ]
    s.fill(smooth(body), c)
    s.fill(oval(50, 63, 9, 9), BLACK)
    s.fill(box(38, 80, 62, 86), dark(WOOD, 0.4))
    s.line([(50, 20), (50, 80)], light(WOOD, 0.6), 2)


def crown(s: Sketch, c: Colour) -> None:
    s.fill([(12, 84), (8, 30), (30, 52), (50, 16), (70, 52), (92, 30), (88, 84)], c)
    s.fill(box(12, 72, 88, 87, 2), dark(c, 0.25))
    for x, y in ((8, 28), (50, 14), (92, 28)):
        s.fill(oval(x, y, 6, 6), light(c, 0.5))
    for x in (28, 50, 72):
        s.spot(oval(x, 79, 4, 4), WHITE)


def book(s: Sketch, c: Colour) -> None:
    s.fill([(6, 24), (50, 32), (94, 24), (94, 82), (50, 90), (6, 82)], c)
    s.fill(smooth([(50, 26), (30, 16), (12, 20), (12, 74), (30, 72), (50, 82)]), WHITE)
    s.fill(smooth([(50, 26), (70, 16), (88, 20), (88, 74), (70, 72), (50, 82)]), WHITE)
    for y in (34, 46, 58):
        s.line([(20, y), (40, y + 3)], STEEL, 2.6)
        s.line([(80, y), (60, y + 3)], STEEL, 2.6)


def sun(s: Sketch, c: Colour) -> None:
    s.fill(star(50, 50, 47, 32, rays=10), c)
    s.fill(oval(50, 50, 29, 29), light(c, 0.35))
    s.face(50, 45, 11, 4.2, smile=9)


def moon(s: Sketch, c: Colour) -> None:
    s.fill([*arc(50, 50, 42, 42, 50, 310), *arc(72, 50, 34, 32, 280, 80)], c)
    s.spot(oval(26, 44, 4, 5), BLACK)
    s.line(arc(32, 58, 7, 6, 20, 140), BLACK, 2.4)


def heart(s: Sketch, c: Colour) -> None:
    s.fill(
        smooth(
            [
                (50, 28),
                (62, 14),
                (82, 14),
                (94, 34),
                (84, 58),
                (50, 92),
                (16, 58),
                (6, 34),
                (18, 14),
                (38, 14),
            ]
        ),
        c,
    )
    s.spot(oval(24, 32, 6, 9, 30), light(c, 0.65))


def snowman(s: Sketch, c: Colour) -> None:
    s.line([(30, 58), (8, 42)], WOOD, 3.4)
    s.line([(70, 58), (92, 42)], WOOD, 3.4)
    s.fill(oval(50, 72, 28, 24), (240, 246, 252))
    s.fill(oval(50, 34, 21, 20), (240, 246, 252))
    s.face(50, 30, 8, 3.2, smile=0)
    s.fill([(48, 34), (48, 41), (70, 40)], (245, 134, 32))
    s.fill(box(29, 46, 71, 56, 5), c)
    s.fill(box(56, 50, 66, 74, 3), c)
    for y in (68, 80):
        s.spot(oval(46, y, 3, 3), BLACK)
    s.hat = (50, 17, 0.7)


_ALL = (
    house, car, boat, rocket, hot_air_balloon, tree, flower, cactus,
    umbrella, gift, bell, key, lamp, guitar, crown, book,
    sun, moon, heart, snowman,
)  # fmt: skip
THINGS = {draw.__name__.replace("_", " "): draw for draw in _ALL}
