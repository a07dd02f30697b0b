"""Prepare a picture for a tagger: a white margin makes it a square, which is then scaled.

A square of the tagger's size or more is averaged over areas, as OpenCV's INTER_AREA does; a smaller
one is enlarged with Pillow's Lanczos filter. Numbers are sd-scripts' ones (resize_image). The
margin is never made: of a picture that is 1,000 times as long as wide, the square would have 1,000
times as many pixels.
"""

from __future__ import annotations

from math import ceil, floor

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WHITE = 255.0
_EACH_COLOUR = np.eye(3, dtype=np.float32)
_WIDE = 4
"""How many times as wide as high a picture is of which columns are averaged first."""
_LEAST = 1e-3
"""OpenCV leaves out a pixel of which less than this part lies in an area."""


def prepared(picture: Image.Image, size: int) -> NDArray[np.float32]:
    """Return the pixels that a tagger sees.

    Args:
        picture: RGB.
        size: height and width that the tagger wants.

    Returns:
        [size, size, 3], whole numbers from 0 to 255, blue first.
    """
    side = max(picture.size)
    if side < size:
        square = Image.new("RGB", (side, side), "white")
        square.paste(picture, _margin(picture))
        resized = square.resize((size, size), Image.Resampling.LANCZOS)
        pixels = np.asarray(resized, dtype=np.float32)
    else:
        means = _averaged(picture, size)
        # For halves OpenCV has code of its own, which rounds upwards.
        pixels = np.floor(means + 0.5) if side == 2 * size else np.rint(means)
    return np.ascontiguousarray(pixels[:, :, ::-1])


def _margin(picture: Image.Image) -> tuple[int, int]:
    """Return how many white columns and rows stand before a picture in its square."""
    side = max(picture.size)
    return (side - picture.width) // 2, (side - picture.height) // 2


def _averaged(picture: Image.Image, size: int) -> NDArray[np.float32]:
    """Average over the areas of the square, [size, size, 3].

    Rows are put together first, strip by strip, so that little more than the picture is in memory
    at any time; columns are where the picture is so wide that this would not be little.
    """
    side = max(picture.size)
    area = side / size
    columns, rows = (
        range(before, before + length)
        for before, length in zip(_margin(picture), picture.size, strict=True)
    )
    is_wide = picture.width > _WIDE * picture.height
    along, across = (columns, rows) if is_wide else (rows, columns)
    strips = np.empty((size, len(across) * 3), dtype=np.float32)
    for place in range(size):
        first, parts, margin = _parts(place, side, size, along)
        strips[place] = WHITE * margin
        last = first + len(parts)
        if is_wide and len(parts):
            box = picture.crop((first, 0, last, picture.height))
            block = np.asarray(box, dtype=np.float32).reshape(picture.height, -1)
            strips[place] += (block @ np.kron(parts[:, None], _EACH_COLOUR)).reshape(-1)
        elif len(parts):
            box = picture.crop((0, first, picture.width, last))
            strips[place] += parts @ np.asarray(box, dtype=np.float32).reshape(len(parts), -1)
    turned = strips.reshape(size, -1, 3).transpose(1, 0, 2).reshape(len(across), -1)
    made = np.empty((size, size * 3), dtype=np.float32)
    for place in range(size):
        first, parts, margin = _parts(place, side, size, across)
        made[place] = parts @ turned[first : first + len(parts)] + np.float32(WHITE * area * margin)
    made *= np.float32(1.0 / area**2)
    square = made.reshape(size, size, 3)
    return square if is_wide else square.transpose(1, 0, 2)


def _parts(place: int, side: int, size: int, at: range) -> tuple[int, NDArray[np.float32], float]:
    """Return how much of each pixel of a picture lies in an area.

    Args:
        place: number of the area, of ``size``.
        side: pixels of the square.
        size: number of areas.
        at: where the picture stands in the square.

    Returns:
        The first pixel of the picture that lies in the area, and the parts of it and of those
        behind it, 0 to 1 each (none if the area is margin alone), and how much of it is margin.
    """
    scale = side / size
    start = place * scale
    end = start + scale
    last = min(floor(end), side - 1)
    whole = min(ceil(start), last)
    parts = dict.fromkeys(range(whole, last), 1.0)
    if whole - start > _LEAST:
        parts[whole - 1] = whole - start
    if end - last > _LEAST:
        parts[last] = min(end - last, 1.0)
    inside = sorted(pixel for pixel in parts if pixel in at)
    margin = sum(parts.values()) - sum(parts[pixel] for pixel in inside)
    found = np.array([parts[pixel] for pixel in inside], dtype=np.float32)
    return (inside[0] - at.start if inside else 0), found, margin
