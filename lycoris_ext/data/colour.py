"""Change the colours of a picture a little, as sd-scripts' color_aug does.

Of three pictures one is changed: half of these by a shift of all hues, half by a curve of
brightness. The numbers are sd-scripts', which takes red for blue while it shifts hues, rounds hues
to two degrees, and raises brightness from 0 to 255 (not to 1) to a power near 1.

Source: sd-scripts 48d368f, AugHelper.color_aug in library/train_util.py; hues as OpenCV defines
them for 8 bits, https://docs.opencv.org/4.x/de/d25/imgproc_color_conversions.html.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor

_CHANGED = 0.33
"""Share of the pictures that are changed."""
_LARGEST_SHIFT = 8.0
"""Of the hue, in steps of two degrees."""
_POWERS = (0.95, 1.05)
_HUES = 180
"""Steps of a whole turn of the hue."""
_DIGITS = 12


def draw_colours(pixels: Tensor, rng: random.Random) -> Tensor:
    """Return a picture with its colours as they are, or changed at random.

    Args:
        pixels: uint8 [3, H, W].
        rng: what is drawn depends on it alone.
    """
    if rng.random() > _CHANGED:
        return pixels
    if rng.random() > 0.5:
        return shift_hue(pixels, rng.uniform(-_LARGEST_SHIFT, _LARGEST_SHIFT))
    return raise_to_power(pixels, rng.uniform(*_POWERS))


def raise_to_power(pixels: Tensor, power: float) -> Tensor:
    """Raise every number of a picture, 0 to 255, to a power, and cut the result at 255.

    Args:
        pixels: uint8 of any shape.
        power: near 1; 1.05 turns 128 into 163, 0.95 into 100.
    """
    curve = torch.arange(256, dtype=torch.float64).pow(power).clamp(max=255)
    return curve.to(torch.uint8)[pixels.long()]


def shift_hue(pixels: Tensor, shift: float) -> Tensor:
    """Turn the hue of every pixel.

    Args:
        pixels: uint8 [3, H, W], red first.
        shift: in steps of two degrees; above 0 it turns red towards blue.
    """
    blue, green, red = pixels.to(torch.int64)  # as sd-scripts reads them
    value = pixels.amax(dim=0).to(torch.int64)
    spread = value - pixels.amin(dim=0).to(torch.int64)
    saturation = _divided(spread, value, 255) / 255
    sector = torch.where(
        value == red,
        green - blue,
        torch.where(value == green, blue - red + 2 * spread, red - green + 4 * spread),
    )
    hue = _divided(sector, spread, _HUES // 6)
    turned = torch.floor((hue.to(torch.float64) + shift) % _HUES) * (6 / _HUES)
    shown = []
    for corner in (1, 3, 5):  # of blue, green, red
        distance = (corner + turned) % 6
        away = torch.minimum(distance, 4 - distance).clamp(0, 1)
        shown.append(value * (1 - saturation * away))
    return torch.stack(shown).round().to(torch.uint8)


def _divided(numbers: Tensor, by: Tensor, times: int) -> Tensor:
    """Return times * numbers / by, rounded; OpenCV multiplies by a quotient with 12 binary digits.

    Args:
        numbers: int64.
        by: int64, 0 to 255; where it is 0, so is the result.
        times: factor.
    """
    quotients = (times * 2.0**_DIGITS / torch.arange(1, 256, dtype=torch.float64)).round()
    table = torch.cat([torch.zeros(1, dtype=torch.int64), quotients.to(torch.int64)])
    return (numbers * table[by] + 2 ** (_DIGITS - 1)) >> _DIGITS
