"""What is measured of a picture's pixels, once: light, colour, detail, and a hash of its look.

Everything comes from every n-th pixel and five tiles in full size, so that measuring takes a
fraction of the time of decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from PIL import Image, ImageChops
from torch import Tensor

MEASURED = 64
"""The shorter side in pixels below which pictures, such as icons, are not measured."""
MEASURES_VERSION = 1
"""Part of the key of measures that are kept. Raise it when they are computed differently."""
HASH_SIDE = 8
TONES_SIDE = 8
_DCT_SIDE = 32
_TILE = 96
_PLACES = ((0.5, 0.5), (0.2, 0.2), (0.8, 0.2), (0.2, 0.8), (0.8, 0.8))
"""Where the tiles lie: share of the way from the left and from the top."""
_SAMPLED = 256
"""The shorter side of what is kept of a picture for all measures but the finest detail."""
_FADED = 0.12
"""A picture enlarged to twice its size has this part of the energy of the second octave, or less,
in the first: 0.06 to 0.11 for nine of ten photographs; sharp ones have 0.19 to 1.7."""
_LEAST_ENERGY = 0.15
"""Below that, in squared steps of 8 bits, an octave holds too little to tell anything of it."""
_LEAST_SIDE = 16
"""A picture or tile of fewer pixels has too few for a mean."""


@dataclass(frozen=True)
class Measures:
    """What was measured of a picture.

    Args:
        darkest: the luma, 0 to 255, that 5 % of the pixels are at or below.
        brightest: the luma that 1 % of the pixels are at or above.
        plain: share of the pixels that have the most frequent luma, give or take 2.
        colour: the difference between two channels, 0 to 255, that 1 % of the pixels are at or
            above.
        halvings: how often the picture can be scaled down to half its size without losing detail.
        look: 64-bit perceptual hash: similar pictures have most bits in common.
        tones: red, green and blue of 8 x 8 fields, 192 bytes as hexadecimal digits.
    """

    darkest: int
    brightest: int
    plain: float
    colour: int
    halvings: int
    look: int
    tones: str


def measure(picture: Image.Image) -> Measures | None:
    """Measure a decoded picture; None if it is smaller than ``MEASURED``.

    Args:
        picture: RGB, or RGBA, of whose transparent parts the colours beneath count.
    """
    if min(picture.size) < MEASURED:
        return None
    small, octave = _sampled(picture)
    grey = small.convert("L")
    luma = grey.histogram()
    red, green, blue = small.split()
    apart = ImageChops.lighter(
        ImageChops.difference(red, green), ImageChops.difference(green, blue)
    ).histogram()
    near = [sum(around) for around in zip(*(luma[shift:] for shift in range(5)), strict=False)]
    return Measures(
        darkest=_percentile(luma, 0.05),
        brightest=_percentile(luma, 0.99),
        plain=max(*near, luma[0] + luma[1] + luma[2], luma[253] + luma[254] + luma[255])
        / sum(luma),
        colour=_percentile(apart, 0.99),
        halvings=_halvings(picture, grey, octave),
        look=perceptual_hash(grey),
        tones=small.resize((TONES_SIDE, TONES_SIDE), Image.Resampling.BOX).tobytes().hex(),
    )


def perceptual_hash(grey: Image.Image) -> int:
    """Return 64 bits that say which slow waves of a grey picture are stronger than their median.

    Source: Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010. The
    bits are those of ``imagehash.phash`` for the same picture.
    """
    small = _matrix(grey.resize((_DCT_SIDE, _DCT_SIDE), Image.Resampling.LANCZOS)).double()
    waves = (_cosines() @ small @ _cosines().T).flatten().tolist()
    ordered = sorted(waves)
    median = (ordered[31] + ordered[32]) / 2
    return int("".join("1" if wave > median else "0" for wave in waves), 2)


@cache
def _cosines() -> Tensor:
    """Return the first rows of the discrete cosine transform, [HASH_SIDE, _DCT_SIDE]."""
    at = torch.arange(_DCT_SIDE, dtype=torch.float64) + 0.5
    rows = torch.arange(HASH_SIDE, dtype=torch.float64)
    return torch.cos(torch.outer(rows, at) * (torch.pi / _DCT_SIDE))


def _sampled(picture: Image.Image) -> tuple[Image.Image, int]:
    """Return every n-th pixel of a picture averaged by fours, and the octave that this is."""
    octave = max(0, (min(picture.size) // _SAMPLED).bit_length() - 1)
    width, height = (side >> octave for side in picture.size)
    small = picture.resize((width, height), Image.Resampling.NEAREST) if octave else picture
    small = small if small.mode == "RGB" else small.convert("RGB")
    return small.reduce(2), octave + 1


def _halvings(picture: Image.Image, grey: Image.Image, octave: int) -> int:
    """Return the last octave of diagonal detail beside which all finer ones are faint.

    The tiles tell the finest octaves and the small picture the others; they are not compared with
    each other, because the tiles may lie beside what the picture shows.
    """
    coarse = _last_faint(_energies(_matrix(grey)[None].float()))
    return octave + coarse if coarse else _last_faint(_energies(_tiles(picture)))


def _last_faint(energies: Sequence[float]) -> int:
    """Return the number of octaves, from the finest on, that are faint beside the next one."""
    found, finer = 0, 0.0
    for at, energy in enumerate(energies):
        if at and energy > _LEAST_ENERGY and finer < _FADED * energy:
            found = at
        finer = max(finer, energy)
    return found


def _energies(grey: Tensor) -> list[float]:
    """Return the mean square of each octave of diagonal detail, the finest first.

    They are the diagonal coefficients of the Haar wavelet.

    Args:
        grey: [N, height, width].
    """
    energies = []
    while min(grey.shape[1:]) >= _LEAST_SIDE:
        height, width = (side // 2 * 2 for side in grey.shape[1:])
        top, bottom = grey[:, 0:height:2, :width], grey[:, 1:height:2, :width]
        added, apart = top + bottom, top - bottom
        energies.append(float((apart[..., 0::2] - apart[..., 1::2]).square().mean()) / 16)
        grey = (added[..., 0::2] + added[..., 1::2]) / 4
    return energies


def _tiles(picture: Image.Image) -> Tensor:
    """Return the luma of tiles spread over the picture, [N, side, side]."""
    width, height = picture.size
    side = min(_TILE, width, height)
    strip = Image.new(picture.mode, (side, side * len(_PLACES)))
    for number, (x, y) in enumerate(_PLACES):
        left, top = int((width - side) * x), int((height - side) * y)
        strip.paste(picture.crop((left, top, left + side, top + side)), (0, side * number))
    return _matrix(strip.convert("L")).view(len(_PLACES), side, side).float()


def _matrix(grey: Image.Image) -> Tensor:
    flat = torch.frombuffer(bytearray(grey.tobytes()), dtype=torch.uint8)
    return flat.view(grey.height, grey.width)


def _percentile(counts: Sequence[int], share: float) -> int:
    """Return the value of a histogram that this share of its entries is at or below."""
    wanted, seen = share * sum(counts), 0
    for value, number in enumerate(counts):
        seen += number
        if seen >= wanted:
            return value
    return len(counts) - 1
