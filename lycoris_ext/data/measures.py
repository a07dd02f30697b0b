"""What is measured of a picture's pixels, once: light, colour, detail, and a hash of its look.

Everything comes from every n-th pixel and five tiles in full size, so that measuring takes a
fraction of the time of decoding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from operator import sub

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
_ROUNDED = 1e6
"""Waves are rounded to whole parts of this."""
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


@dataclass(frozen=True)
class Sample:
    """What is kept of a decoded picture until it is measured, some 90 kB.

    Args:
        small: every n-th pixel of the picture, averaged by fours; RGB.
        octave: how often its sides were halved for that.
        tiles: the luma of tiles in full size, one after the other.
        side: of a tile, in pixels.
    """

    small: Image.Image
    octave: int
    tiles: bytes
    side: int


def sample(picture: Image.Image) -> Sample | None:
    """Take from a decoded picture what is measured; None if it is smaller than ``MEASURED``.

    Args:
        picture: RGB, or RGBA, of whose transparent parts the colours beneath count.
    """
    if min(picture.size) < MEASURED:
        return None
    small, octave = _sampled(picture)
    tiles, side = _tiles(picture)
    return Sample(small, octave, tiles, side)


def measure(picture: Image.Image) -> Measures | None:
    """Measure one decoded picture; see ``sample`` and ``measure_all``."""
    return measure_all([sample(picture)])[0]


def measure_all(samples: Sequence[Sample | None]) -> list[Measures | None]:
    """Measure several pictures, which takes less time than one after the other.

    What is measured of a picture does not depend on the others.

    Returns:
        Their measures, in order; None for None.
    """
    taken = [one for one in samples if one is not None]
    if not taken:
        return [None] * len(samples)
    greys = [one.small.convert("L") for one in taken]
    coarse = _energies([(one.tobytes(), (1, one.height, one.width)) for one in greys])
    fine = _energies([(one.tiles, (len(_PLACES), one.side, one.side)) for one in taken])
    looks = perceptual_hashes(greys)
    measured = iter(
        [
            _measures(one, grey, look, _halvings(one.octave, small, tiles))
            for one, grey, look, small, tiles in zip(taken, greys, looks, coarse, fine, strict=True)
        ]
    )
    return [None if one is None else next(measured) for one in samples]


def _measures(one: Sample, grey: Image.Image, look: int, halvings: int) -> Measures:
    luma = grey.histogram()
    red, green, blue = one.small.split()
    apart = ImageChops.lighter(
        ImageChops.difference(red, green), ImageChops.difference(green, blue)
    ).histogram()
    below = [0, *accumulate(luma)]
    near = max(map(sub, below[5:], below))
    return Measures(
        darkest=_percentile(luma, 0.05),
        brightest=_percentile(luma, 0.99),
        plain=max(near, below[3], below[256] - below[253]) / below[256],
        colour=_percentile(apart, 0.99),
        halvings=halvings,
        look=look,
        tones=one.small.resize((TONES_SIDE, TONES_SIDE), Image.Resampling.BOX).tobytes().hex(),
    )


def perceptual_hashes(greys: Sequence[Image.Image]) -> list[int]:
    """Return 64 bits of each that say which slow waves of a grey picture exceed their median.

    Source: Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010. The
    bits are those of ``imagehash.phash`` for the same picture. Only where a picture is one colour,
    ours are all alike: waves are rounded, so that no rounding error counts as one.
    """
    side = (_DCT_SIDE, _DCT_SIDE)
    small = b"".join(one.resize(side, Image.Resampling.LANCZOS).tobytes() for one in greys)
    waves = _cosines() @ _numbers(small, (-1, *side)).double() @ _cosines().T
    hashes = []
    for each in waves.mul(_ROUNDED).round().flatten(1).tolist():
        ordered = sorted(each)
        median = (ordered[31] + ordered[32]) / 2
        hashes.append(int("".join("1" if wave > median else "0" for wave in each), 2))
    return hashes


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


def _halvings(octave: int, coarse: Sequence[float], fine: Sequence[float]) -> int:
    """Return the last octave of diagonal detail beside which all finer ones are faint.

    The tiles tell the finest octaves and the small picture the others; they are not compared with
    each other, because the tiles may lie beside what the picture shows.

    Args:
        octave: of the small picture's finest detail.
        coarse: energies of the small picture.
        fine: energies of the tiles.
    """
    faint = _last_faint(coarse)
    return octave + faint if faint else _last_faint(fine)


def _last_faint(energies: Sequence[float]) -> int:
    """Return the number of octaves, from the finest on, that are faint beside the next one."""
    found, finer = 0, 0.0
    for at, energy in enumerate(energies):
        if at and energy > _LEAST_ENERGY and finer < _FADED * energy:
            found = at
        finer = max(finer, energy)
    return found


def _energies(seen: Sequence[tuple[bytes, tuple[int, int, int]]]) -> list[list[float]]:
    """Return the mean square of each octave of diagonal detail, the finest first, of each picture.

    They are the diagonal coefficients of the Haar wavelet. Those of one size are computed together.

    Args:
        seen: luma of a picture, or of tiles of it, and its shape, (N, height, width).
    """
    found: list[list[float]] = [[] for _ in seen]
    shapes = [shape for _, shape in seen]
    for shape in set(shapes):
        members = [at for at, one in enumerate(shapes) if one == shape]
        together = b"".join(seen[at][0] for at in members)
        for energies in _octaves(_numbers(together, (-1, *shape)).to(torch.int16)):
            for at, energy in zip(members, energies, strict=True):
                found[at].append(energy)
    return found


def _octaves(grey: Tensor) -> Iterator[list[float]]:
    """Yield the mean square of an octave's diagonal detail for each picture, the finest first.

    Everything is exact: what is found in a picture does not depend on those beside it.

    Args:
        grey: int16 [pictures, N, height, width] of 0 to 255, with a shorter side below 256, so that
            the sums of all octaves fit.
    """
    summed = 1  # so many pixels are added up in each number
    while min(grey.shape[2:]) >= _LEAST_SIDE:
        height, width = (side // 2 * 2 for side in grey.shape[2:])
        top, bottom = grey[..., 0:height:2, :width], grey[..., 1:height:2, :width]
        added, apart = top + bottom, top - bottom
        diagonal = (apart[..., 0::2] - apart[..., 1::2]).flatten(1)
        norms = torch.linalg.vector_norm(diagonal.float(), dim=1, dtype=torch.float64)
        yield norms.square().div(diagonal.shape[1] * (4 * summed) ** 2).tolist()
        grey, summed = added[..., 0::2] + added[..., 1::2], 4 * summed


def _tiles(picture: Image.Image) -> tuple[bytes, int]:
    """Return the luma of tiles spread over the picture, and the side of a tile."""
    width, height = picture.size
    side = min(_TILE, width, height)
    strip = Image.new(picture.mode, (side, side * len(_PLACES)))
    for number, (x, y) in enumerate(_PLACES):
        left, top = int((width - side) * x), int((height - side) * y)
        strip.paste(picture.crop((left, top, left + side, top + side)), (0, side * number))
    return strip.convert("L").tobytes(), side


def _numbers(content: bytes, shape: Sequence[int]) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).view(*shape)


def _percentile(counts: Sequence[int], share: float) -> int:
    """Return the value of a histogram that this share of its entries is at or below."""
    wanted, seen = share * sum(counts), 0
    for value, number in enumerate(counts):
        seen += number
        if seen >= wanted:
            return value
    return len(counts) - 1
