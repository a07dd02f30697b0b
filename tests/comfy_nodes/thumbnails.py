"""Draws the pictures of the example workflows in ComfyUI's template browser.

`python -m tests.comfy_nodes.thumbnails` writes them anew. They are cards of 4 to 3: what the
workflow does, drawn with a small harbour scene, plain and in a style.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

from lycoris_ext.formats import atomic_write
from lycoris_ext.plots.curve import loss_curve
from lycoris_ext.plots.fonts import font
from lycoris_ext.runs.losses import LossPoint

SIZE = (512, 384)
_EXAMPLES = Path(__file__).resolve().parents[2] / "example_workflows"
_PAPER, _INK, _ACCENT = (27, 32, 43), (238, 240, 245), (124, 178, 255)
_PLAIN = {"sky": (176, 205, 226), "sea": (96, 138, 168), "hull": (120, 92, 70), "sail": (236,) * 3}
_STYLE = {
    "sky": (255, 186, 120),
    "sea": (34, 86, 132),
    "hull": (170, 40, 56),
    "sail": (255, 240, 205),
}
_UNIT = 4  # drawn larger and shrunk, because Pillow's edges are not smooth


def harbour(
    colours: dict[str, tuple[int, ...]], side: int = 120, waves: bool = False
) -> Image.Image:
    """Draw a boat on the sea.

    Args:
        colours: of sky, sea, hull and sail.
        side: of the picture in pixels.
        waves: draw the style's waves and sun.
    """
    n = side * _UNIT
    picture = Image.new("RGB", (n, n), colours["sky"])
    draw = ImageDraw.Draw(picture)
    if waves:
        draw.ellipse((n * 0.62, n * 0.1, n * 0.86, n * 0.34), fill=(255, 226, 150))
    draw.rectangle((0, n * 0.62, n, n), fill=colours["sea"])
    draw.polygon(
        [(n * 0.5, n * 0.12), (n * 0.5, n * 0.56), (n * 0.24, n * 0.56)], fill=colours["sail"]
    )
    draw.polygon(
        [(n * 0.54, n * 0.2), (n * 0.54, n * 0.56), (n * 0.74, n * 0.56)], fill=colours["sail"]
    )
    draw.polygon(
        [(n * 0.18, n * 0.6), (n * 0.84, n * 0.6), (n * 0.72, n * 0.74), (n * 0.3, n * 0.74)],
        fill=colours["hull"],
    )
    if waves:
        for row in range(4):
            y = n * (0.78 + 0.06 * row)
            line = [(x, y + n * 0.012 * math.sin(x / n * 40 + row)) for x in range(0, n, _UNIT)]
            draw.line(line, fill=(236, 246, 250), width=round(n * 0.014))
    return picture.resize((side, side), Image.Resampling.LANCZOS)


def _blend(share: float, side: int) -> Image.Image:
    plain, styled = harbour(_PLAIN, side), harbour(_STYLE, side, waves=True)
    return Image.blend(plain, styled, share)


def _face(side: int, smile: float, colour: tuple[int, int, int]) -> Image.Image:
    n = side * _UNIT
    picture = Image.new("RGB", (n, n), colour)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((n * 0.18, n * 0.2, n * 0.82, n * 0.88), fill=(250, 214, 190))
    draw.pieslice((n * 0.14, n * 0.08, n * 0.86, n * 0.8), 180, 360, fill=(92, 60, 128))
    for x in (0.38, 0.62):
        draw.ellipse((n * (x - 0.05), n * 0.5, n * (x + 0.05), n * 0.62), fill=(40, 40, 60))
    low = n * (0.7 + 0.06 * smile)
    draw.arc((n * 0.4, low - n * 0.1, n * 0.6, low), 20, 160, fill=(150, 50, 60), width=n // 50)
    return picture.resize((side, side), Image.Resampling.LANCZOS)


def _card() -> Image.Image:
    return Image.new("RGB", SIZE, _PAPER)


def _label(card: Image.Image, text: str, centre: float, y: float, size: int = 22) -> None:
    draw = ImageDraw.Draw(card)
    draw.text((centre, y), text, font=font(size), fill=_INK, anchor="ma")


def _arrow(card: Image.Image, x: float, y: float) -> None:
    draw = ImageDraw.Draw(card)
    draw.line((x, y, x + 34, y), fill=_ACCENT, width=6)
    draw.polygon([(x + 30, y - 12), (x + 52, y), (x + 30, y + 12)], fill=_ACCENT)


def _curve() -> Image.Image:
    drawn = random.Random(1)
    losses = [0.09 + 0.1 * math.exp(-step / 60) + drawn.gauss(0, 0.012) for step in range(300)]
    points = [LossPoint(step, loss) for step, loss in enumerate(losses, 1)]
    return loss_curve(points, "", (560, 420)).crop((82, 96, 540, 358)).resize((230, 150))


def _train_a_style() -> Image.Image:
    card = _card()
    for number in range(4):
        styled = harbour(_STYLE, 84, waves=True)
        if number % 2:
            styled = styled.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        card.paste(styled, (18 + 94 * (number % 2), 86 + 94 * (number // 2)))
    _arrow(card, 206, 176)
    card.paste(_curve(), (268, 36))
    card.paste(harbour(_STYLE, 110, waves=True), (328, 206))
    _label(card, "pictures", 107, 290)
    _label(card, "LoHa", 383, 328)
    return card


def _train_a_character() -> Image.Image:
    card = _card()
    for number, colour in enumerate(((120, 170, 140), (190, 160, 110), (120, 140, 190))):
        card.paste(_face(96, number % 2, colour), (12, 32 + 112 * number))
    _arrow(card, 120, 192)
    draw = ImageDraw.Draw(card)
    for y, text in ((104, "model"), (210, "text encoder")):
        draw.rounded_rectangle((184, y, 336, y + 70), 12, outline=_ACCENT, width=4)
        _label(card, text, 260, y + 20)
    _arrow(card, 346, 192)
    card.paste(_face(84, 1, (210, 120, 120)), (412, 150))
    return card


def _compare_epochs() -> Image.Image:
    card = _card()
    for number in range(4):
        share, blur = number / 3, 3 - number
        for row in range(2):
            drawn = _blend(share, 108).filter(ImageFilter.GaussianBlur(blur))
            if row:
                drawn = drawn.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            card.paste(drawn, (22 + 120 * number, 92 + 120 * row))
        _label(card, f"epoch {number + 1}", 76 + 120 * number, 54)
    return card


def _compare_strengths() -> Image.Image:
    card = _card()
    for number, strength in enumerate((0.0, 0.4, 0.7, 1.0)):
        place = (87 + 188 * (number % 2), 16 + 182 * (number // 2))
        card.paste(_blend(strength, 150), place)
        _label(card, f"{strength:g}", place[0] + 75, place[1] + 150, 20)
    return card


THUMBNAILS: dict[str, Callable[[], Image.Image]] = {
    "train_a_style": _train_a_style,
    "train_a_character": _train_a_character,
    "compare_epochs": _compare_epochs,
    "compare_strengths": _compare_strengths,
}


if __name__ == "__main__":
    for name, draw_card in THUMBNAILS.items():
        written = BytesIO()
        draw_card().save(written, "JPEG", quality=88)
        atomic_write(_EXAMPLES / f"{name}.jpg", written.getvalue())
