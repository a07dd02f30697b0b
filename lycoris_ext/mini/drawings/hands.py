"""Render a sketch in one of the three drawing styles.

`flat` fills shapes with one colour. `shaded` shades them as if lit from the upper left, with a soft
shadow. `ink` draws black outlines around pale fillings on cream paper.
"""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from lycoris_ext.mini.drawings.sketch import BLACK, WHITE, Colour, Point, Shape, dark, mix

SCALE = 4
"""Factor by which pictures are drawn larger and then shrunk, as Pillow has no anti-aliasing."""

CREAM: Colour = (252, 246, 230)
INK: Colour = (22, 20, 26)
INK_WIDTH = 3.6


def _pixels(points: list[Point], size: int) -> list[Point]:
    return [(x * size / 100, y * size / 100) for x, y in points]


def _draw_line(
    draw: ImageDraw.ImageDraw, points: list[Point], fill: Colour | int, width: float
) -> None:
    """Draw a line with round ends and joints."""
    draw.line(points, fill=fill, width=max(1, round(width)), joint="curve")
    for x, y in (points[0], points[-1]):
        draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=fill)


def _draw_flat(paper: Image.Image, shapes: list[Shape]) -> Image.Image:
    draw = ImageDraw.Draw(paper)
    for shape in shapes:
        points = _pixels(shape.points, paper.width)
        if shape.width:
            _draw_line(draw, points, shape.colour, shape.width * paper.width / 100)
        else:
            draw.polygon(points, fill=shape.colour)
    return paper


def _mask(shape: Shape, size: int) -> Image.Image:
    mask = Image.new("L", (size, size), 0)
    draw = ImageDraw.Draw(mask)
    points = _pixels(shape.points, size)
    if shape.width:
        _draw_line(draw, points, 255, shape.width * size / 100)
    else:
        draw.polygon(points, fill=255)
    return mask


def _glow() -> Image.Image:
    """Return a gradient, bright at the upper left, that is stretched over each shape."""
    gradient = ImageChops.invert(Image.radial_gradient("L"))
    return (
        gradient.crop((70, 84, 256, 256))
        .resize((64, 64))
        .point(lambda v: min(255, round(v * 1.25)))
    )


def _draw_shaded(paper: Image.Image, shapes: list[Shape]) -> Image.Image:
    size = paper.width
    glow = _glow()
    shadow = Image.new("L", (size, size), 0)
    for shape in shapes:
        shadow.paste(255, (0, 0), _mask(shape, size))
    shadow = ImageChops.offset(shadow, round(size * 0.02), round(size * 0.045))
    shadow = shadow.filter(ImageFilter.GaussianBlur(size * 0.025)).point(lambda v: v * 2 // 5)
    paper.paste((40, 30, 60), (0, 0), shadow)
    for shape in shapes:
        mask = _mask(shape, size)
        area = mask.getbbox()
        if area is None:
            continue
        if shape.fine or shape.width:
            paper.paste(shape.colour, (0, 0), mask)
            continue
        span = (area[2] - area[0], area[3] - area[1])
        bright = Image.new("RGB", span, mix(shape.colour, WHITE, 0.4))
        deep = Image.new("RGB", span, mix(dark(shape.colour, 0.25), (70, 20, 90), 0.3))
        volume = Image.composite(bright, deep, glow.resize(span))
        paper.paste(volume, area[:2], mask.crop(area))
    return paper


def _draw_ink(paper: Image.Image, shapes: list[Shape]) -> Image.Image:
    draw = ImageDraw.Draw(paper)
    unit = paper.width / 100
    for shape in shapes:
        points = _pixels(shape.points, paper.width)
        black = sum(shape.colour) < sum(BLACK) + 60
        wash = INK if black else mix(shape.colour, CREAM, 0.62)
        if shape.width:
            if shape.width > 3 and not black:
                _draw_line(draw, points, INK, (shape.width + INK_WIDTH) * unit)
                _draw_line(draw, points, wash, max(1.0, shape.width - INK_WIDTH * 0.4) * unit)
            else:
                _draw_line(draw, points, INK, max(shape.width, INK_WIDTH * 0.75) * unit)
            continue
        draw.polygon(points, fill=wash)
        if not shape.fine:
            draw.line(
                [*points, *points[:2]], fill=INK, width=round(INK_WIDTH * unit), joint="curve"
            )
    return paper


def _paper_flat(colour: Colour, size: int) -> Image.Image:
    return Image.new("RGB", (size, size), colour)


def _paper_shaded(colour: Colour, size: int) -> Image.Image:
    edge = Image.new("RGB", (size, size), mix(dark(colour, 0.2), (90, 70, 140), 0.2))
    middle = Image.new("RGB", (size, size), mix(colour, WHITE, 0.12))
    spot = ImageChops.invert(Image.radial_gradient("L")).resize((size, size))
    return Image.composite(middle, edge, spot.point(lambda v: min(255, v * 2)))


def _paper_ink(colour: Colour, size: int) -> Image.Image:
    return Image.new("RGB", (size, size), mix(colour, CREAM, 0.7))


STYLES: dict[
    str,
    tuple[Callable[[Colour, int], Image.Image], Callable[[Image.Image, list[Shape]], Image.Image]],
] = {
    "flat": (_paper_flat, _draw_flat),
    "shaded": (_paper_shaded, _draw_shaded),
    "ink": (_paper_ink, _draw_ink),
}


def put_on_paper(style: str, behind: Colour, shapes: list[Shape], size: int) -> Image.Image:
    """Render shapes in a style.

    Args:
        style: a key of `STYLES`.
        behind: colour of the background.
        shapes: the shapes, from back to front.
        size: width and height of the picture in pixels.
    """
    make_paper, draw = STYLES[style]
    return draw(make_paper(behind, size * SCALE), shapes).resize((size, size), Image.Resampling.BOX)
