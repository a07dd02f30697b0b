"""Functions that sketch twenty animals and other creatures in a given colour, and the character."""

from __future__ import annotations

from lycoris_ext.mini.drawings.sketch import (
    BLACK,
    WHITE,
    Colour,
    Point,
    Sketch,
    arc,
    box,
    dark,
    light,
    mirrored,
    mix,
    oval,
    smooth,
)

BEAK: Colour = (250, 164, 40)
BLUSH: Colour = (248, 150, 160)


def cat(s: Sketch, c: Colour) -> None:
    s.both([(20, 52), (21, 14), (46, 30)], c)
    s.both([(26, 40), (26, 23), (38, 31)], BLUSH)
    s.fill(oval(50, 56, 35, 30), c)
    s.fill(oval(50, 68, 15, 11), light(c))
    s.face(50, 51, 15, 4.6, smile=0)
    s.spot([(46, 61), (54, 61), (50, 66)], (230, 90, 110))
    for side in (1, -1):
        s.line([(50 + side * 22, 62), (50 + side * 41, 58)], BLACK, 1.8)
        s.line([(50 + side * 22, 68), (50 + side * 40, 70)], BLACK, 1.8)
    s.hat, s.neck = (50, 29, 0.9), (50, 87)


def dog(s: Sketch, c: Colour) -> None:
    s.fill(oval(50, 52, 30, 32), c)
    s.fill(oval(50, 68, 19, 17), light(c, 0.75))
    s.both(smooth([(26, 24), (36, 28), (26, 62), (14, 66), (11, 46)]), dark(c, 0.4))
    s.face(50, 47, 12, 4.6, smile=0)
    s.spot(oval(50, 60, 7, 5), BLACK)
    s.fill(smooth([(45, 72), (55, 72), (55, 82), (50, 86), (45, 82)]), (240, 100, 120))
    s.line(arc(50, 66, 10, 7, 10, 170), BLACK, 2.2)
    s.hat, s.neck = (50, 24, 0.9), (50, 90)


def rabbit(s: Sketch, c: Colour) -> None:
    s.both(oval(36, 26, 9, 23, -8), c)
    s.both(oval(36, 27, 4.5, 16, -8), BLUSH)
    s.fill(oval(50, 64, 30, 27), c)
    s.face(50, 59, 13, 4.6, smile=0)
    s.both(oval(44, 74, 8, 6), light(c, 0.8))
    s.fill(box(45, 77, 55, 86, 2), WHITE)
    s.spot(oval(50, 68, 4, 3), (230, 90, 110))
    s.neck = (50, 91)


def bear(s: Sketch, c: Colour) -> None:
    s.both(oval(25, 29, 13, 13), c)
    s.both(oval(25, 29, 7, 7), light(c))
    s.fill(oval(50, 55, 36, 33), c)
    s.fill(oval(50, 68, 17, 13), light(c, 0.7))
    s.face(50, 48, 16, 4.4, smile=0)
    s.spot(oval(50, 62, 7, 5), BLACK)
    s.line(arc(50, 68, 7, 5, 10, 170), BLACK, 2.2)
    s.hat, s.neck = (50, 24, 0.9), (50, 89)


def fox(s: Sketch, c: Colour) -> None:
    s.both([(14, 50), (14, 12), (44, 32)], c)
    s.both([(19, 36), (19, 20), (32, 29)], BLACK)
    s.fill(smooth([(50, 28), (80, 34), (90, 56), (50, 90), (10, 56), (20, 34)]), c)
    s.both(smooth([(12, 58), (34, 56), (50, 88), (30, 76)]), WHITE)
    s.face(50, 52, 16, 4.4, smile=0)
    s.spot(oval(50, 84, 6, 5), BLACK)
    s.hat = (50, 29, 0.8)


def mouse(s: Sketch, c: Colour) -> None:
    s.both(oval(22, 32, 19, 19), c)
    s.both(oval(22, 32, 12, 12), (250, 180, 190))
    s.fill(smooth([(50, 30), (74, 42), (76, 64), (50, 88), (24, 64), (26, 42)]), c)
    s.face(50, 55, 12, 4.4, smile=0)
    s.spot(oval(50, 82, 6, 5), (230, 90, 110))
    s.line([(62, 76), (82, 72)], BLACK, 1.8)
    s.line([(38, 76), (18, 72)], BLACK, 1.8)
    s.hat = (50, 33, 0.6)


def pig(s: Sketch, c: Colour) -> None:
    s.both([(16, 42), (22, 14), (46, 28)], dark(c, 0.2))
    s.fill(oval(50, 55, 36, 33), c)
    s.fill(oval(50, 65, 17, 12), light(c, 0.45))
    s.both(oval(43.5, 65, 3.2, 5), dark(c, 0.55))
    s.face(50, 46, 17, 4.4, smile=0)
    s.hat, s.neck = (50, 25, 0.9), (50, 89)


def frog(s: Sketch, c: Colour) -> None:
    s.both(oval(28, 30, 15, 15), c)
    s.fill(oval(50, 60, 39, 28), c)
    s.both(oval(28, 30, 10, 10), WHITE)
    s.fill(oval(50, 76, 26, 10), light(c, 0.7))
    s.face(50, 30, 22, 5, smile=0)
    s.line(arc(50, 54, 26, 13, 10, 170), BLACK, 2.6)
    s.hat, s.neck = (50, 34, 0.7), (50, 91)


def owl(s: Sketch, c: Colour) -> None:
    s.both([(22, 36), (22, 8), (46, 24)], c)
    s.fill(smooth([(50, 18), (78, 30), (82, 66), (66, 90), (34, 90), (18, 66), (22, 30)]), c)
    s.fill(oval(50, 72, 19, 17), light(c, 0.65))
    s.both(smooth([(22, 46), (32, 56), (32, 80), (18, 72)]), dark(c, 0.35))
    s.both(oval(36, 40, 14, 14), WHITE)
    s.face(50, 40, 13, 6.5, smile=0)
    s.fill([(44, 48), (56, 48), (50, 60)], BEAK)
    s.hat = (50, 22, 0.8)


def penguin(s: Sketch, c: Colour) -> None:
    s.both(oval(36, 91, 12, 5), BEAK)
    s.both(smooth([(26, 42), (30, 56), (20, 78), (12, 74)]), dark(c, 0.3))
    s.fill(smooth([(50, 8), (70, 20), (78, 62), (66, 90), (34, 90), (22, 62), (30, 20)]), c)
    s.fill(smooth([(50, 34), (64, 46), (68, 70), (58, 86), (42, 86), (32, 70), (36, 46)]), WHITE)
    s.face(50, 28, 9, 3.8, smile=0)
    s.fill([(42, 35), (58, 35), (50, 45)], BEAK)
    s.hat, s.neck = (50, 12, 0.7), (50, 52)


def duck(s: Sketch, c: Colour) -> None:
    s.fill(smooth([(72, 44), (80, 26), (98, 32), (90, 44)]), BEAK)
    s.fill(smooth([(8, 52), (28, 62), (52, 54), (84, 60), (82, 80), (56, 90), (24, 84)]), c)
    s.fill(oval(62, 34, 20, 20), c)
    s.fill(smooth([(28, 66), (48, 62), (58, 70), (44, 80), (30, 76)]), dark(c, 0.25))
    s.spot(oval(66, 30, 4.2, 5), BLACK)
    s.spot(oval(67.4, 28.4, 1.5, 1.5), WHITE)
    s.hat = (60, 17, 0.65)


def fish(s: Sketch, c: Colour) -> None:
    s.fill(smooth([(28, 50), (6, 26), (10, 50), (6, 74)]), dark(c, 0.25))
    s.fill(smooth([(40, 36), (54, 12), (70, 32)]), dark(c, 0.25))
    s.fill(oval(58, 51, 35, 25), c)
    s.fill(smooth([(46, 46), (54, 54), (46, 64), (36, 60)]), light(c, 0.5))
    s.line(arc(62, 50, 9, 20, -70, 70), dark(c, 0.45), 2.4)
    s.fill(oval(79, 44, 7, 7), WHITE)
    s.spot(oval(80, 44, 4, 4), BLACK)
    s.line(arc(90, 58, 8, 5, 90, 190), BLACK, 2.2)


def whale(s: Sketch, c: Colour) -> None:
    s.line(arc(36, 22, 10, 11, 180, 350), (70, 170, 240), 3.6)
    s.line(arc(58, 22, 10, 11, 190, 360), (70, 170, 240), 3.6)
    s.fill(smooth([(80, 62), (84, 36), (72, 20), (88, 26), (99, 16), (96, 36), (94, 70)]), c)
    s.fill(
        smooth([(6, 62), (18, 36), (48, 28), (72, 48), (94, 62), (80, 84), (36, 88), (12, 80)]), c
    )
    s.fill(smooth([(8, 70), (34, 72), (62, 84), (36, 88), (14, 82)]), light(c, 0.75))
    s.fill(smooth([(50, 66), (64, 68), (66, 82), (56, 78)]), dark(c, 0.3))
    s.spot(oval(26, 56, 4, 4.6), BLACK)
    s.spot(oval(24.6, 54.4, 1.5, 1.5), WHITE)


def octopus(s: Sketch, c: Colour) -> None:
    for x in (22, 36, 50):
        leg = smooth(
            [(50 - (50 - x) * 0.6, 56), (x, 76), (x - 8 + (x == 50) * 8, 90)], closed=False
        )
        s.line(leg, dark(c, 0.12), 9)
        s.line(mirrored(leg), dark(c, 0.12), 9)
    s.fill(smooth([(50, 10), (78, 22), (80, 50), (66, 66), (34, 66), (20, 50), (22, 22)]), c)
    s.face(50, 42, 14, 5, smile=6)
    s.hat = (50, 15, 0.9)


def snail(s: Sketch, c: Colour) -> None:
    skin = (240, 206, 150)
    s.line([(78, 52), (74, 26)], skin, 4.6)
    s.line([(84, 52), (92, 28)], skin, 4.6)
    s.fill(
        smooth([(4, 86), (30, 74), (62, 78), (70, 48), (88, 46), (90, 72), (76, 90), (30, 90)]),
        skin,
    )
    s.fill(oval(40, 52, 32, 31), c)
    s.line(
        smooth([(62, 62), (40, 72), (22, 54), (38, 34), (56, 48), (44, 58), (36, 52)], False),
        dark(c, 0.5),
        3.6,
    )
    for x, y in ((74, 24), (92, 26)):
        s.spot(oval(x, y, 4.6, 4.6), BLACK)
    s.line(arc(82, 64, 6, 5, 10, 150), BLACK, 2.2)


def turtle(s: Sketch, c: Colour) -> None:
    skin = (150, 190, 110)
    for x in (28, 62):
        s.fill(box(x, 66, x + 15, 88, 6), skin)
    s.fill(smooth([(70, 66), (76, 40), (92, 36), (98, 50), (88, 66)]), skin)
    s.fill([(8, 74), (18, 64), (24, 74)], skin)
    s.fill(smooth([(14, 70), (18, 42), (46, 22), (74, 42), (80, 70), (46, 76)]), c)
    for x, y, r in ((46, 46, 12), (26, 58, 7), (66, 58, 7)):
        s.fill(oval(x, y, r, r * 0.9), light(c, 0.4))
    s.spot(oval(88, 46, 3.4, 4), BLACK)


def butterfly(s: Sketch, c: Colour) -> None:
    s.both(smooth([(48, 46), (30, 12), (6, 16), (10, 46), (34, 56)]), c)
    s.both(smooth([(48, 52), (20, 58), (16, 82), (34, 90), (48, 68)]), dark(c, 0.28))
    s.both(oval(24, 31, 8, 8), light(c, 0.7))
    s.both(oval(32, 73, 6, 6), light(c, 0.7))
    s.line(smooth([(50, 26), (44, 12), (36, 6)], False), BLACK, 2.2)
    s.line(smooth([(50, 26), (56, 12), (64, 6)], False), BLACK, 2.2)
    s.fill(oval(50, 54, 6, 30), BLACK)


def ladybug(s: Sketch, c: Colour) -> None:
    for y in (44, 60, 76):
        s.line([(14, y - 4), (86, y - 4)], BLACK, 3.2)
    s.line(smooth([(42, 20), (36, 8), (28, 6)], False), BLACK, 2.6)
    s.line(smooth([(58, 20), (64, 8), (72, 6)], False), BLACK, 2.6)
    s.fill(oval(50, 28, 20, 17), BLACK)
    s.fill(oval(50, 59, 33, 33), c)
    s.line([(50, 27), (50, 91)], BLACK, 3)
    for x, y, r in ((34, 47, 6), (30, 66, 5.5), (41, 79, 4.5)):
        s.spot(oval(x, y, r, r), BLACK)
        s.spot(oval(100 - x, y, r, r), BLACK)
    for x in (43, 57):
        s.spot(oval(x, 22, 3.6, 3.6), WHITE)


def crab(s: Sketch, c: Colour) -> None:
    for y in (0, 9):
        s.line([(24, 68 + y), (8, 76 + y)], dark(c, 0.3), 4.4)
        s.line([(76, 68 + y), (92, 76 + y)], dark(c, 0.3), 4.4)
    s.line([(26, 56), (14, 42)], dark(c, 0.3), 6)
    s.line([(74, 56), (86, 42)], dark(c, 0.3), 6)
    claw = smooth([(8, 42), (4, 24), (12, 10), (16, 24), (24, 12), (28, 28), (20, 42)])
    s.both(claw, c)
    s.line([(41, 46), (40, 32)], dark(c, 0.3), 3.6)
    s.line([(59, 46), (60, 32)], dark(c, 0.3), 3.6)
    s.fill(oval(50, 65, 31, 22), c)
    s.face(50, 30, 10, 5.4, smile=0)
    s.line(arc(50, 66, 12, 8, 15, 165), BLACK, 2.4)
    s.hat = None


def ghost(s: Sketch, c: Colour) -> None:
    hem = [(82, 84), (74, 92), (66, 82), (58, 92), (50, 82), (42, 92), (34, 82), (26, 92), (18, 84)]
    s.fill([*arc(50, 44, 32, 36, 180, 360), *hem], light(c, 0.45))
    s.face(50, 42, 12, 5.4, smile=0)
    s.spot(oval(50, 60, 6, 8), BLACK)
    s.both(oval(29, 54, 4.6, 3), BLUSH)
    s.hat, s.neck = (50, 12, 0.9), (50, 76)


_ALL = (
    cat, dog, rabbit, bear, fox, mouse, pig, frog, owl, penguin,
    duck, fish, whale, octopus, snail, turtle, butterfly, ladybug, crab, ghost,
)  # fmt: skip
CREATURES = {draw.__name__: draw for draw in _ALL}


def mimo(s: Sketch, c: Colour, pose: int) -> None:
    """Sketch the character that adapters learn: one eye, two horns, teal fur, purple boots.

    Args:
        s: the sketch to draw on.
        c: colour of the scarf; all other colours are fixed, as a character's are.
        pose: 0 for both arms down, 1 for waving, 2 for cheering.
    """
    fur, belly, boots = (38, 178, 168), (250, 176, 70), (128, 70, 176)
    low: list[Point] = [(24, 56), (12, 72)]
    high: list[Point] = [(24, 54), (8, 36)]
    for side, arm in enumerate((high if pose == 2 else low, low if pose == 0 else high)):
        s.line(arm if side == 0 else mirrored(arm), mix(fur, BLACK, 0.15), 8)
    s.both(smooth([(30, 26), (24, 6), (42, 18)]), (252, 226, 150))
    s.both(box(28, 80, 47, 95, 5), boots)
    s.fill(smooth([(50, 14), (74, 26), (80, 60), (70, 84), (30, 84), (20, 60), (26, 26)]), fur)
    s.fill(oval(50, 70, 19, 14), belly)
    s.fill(oval(50, 37, 17, 17), WHITE)
    s.fill(oval(50, 38, 9, 9), BLACK)
    s.spot(oval(53, 34, 3, 3), WHITE)
    s.fill(box(24, 54, 76, 62, 4), c)
    s.fill(box(60, 58, 70, 78, 3), c)
