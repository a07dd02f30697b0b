"""Crop pictures around a face, whose place their names tell, as sd-scripts does.

A picture called ``NAME_X_Y_WIDTH_HEIGHT.png`` shows a face whose middle is at (X, Y). It is scaled
so that the resolution is some times as large as the face, and cut to the resolution around it.

Source: sd-scripts 48d368f, crop_target and load_image_with_face_info in library/train_util.py;
the names are those of its tools/detect_face_rotate.py.
"""

from __future__ import annotations

import math
import random
import re
from pathlib import Path
from typing import Any, NamedTuple

from lycoris_ext.data.buckets import Crop, Resolution
from lycoris_ext.errors import ConfigError

_NUMBERS = re.compile(r".+_([0-9]{1,6})_([0-9]{1,6})_([0-9]{1,6})_([0-9]{1,6})", re.DOTALL)
_SMALLEST_SHIFTED = 40
"""Pixels of the smallest face that is moved a little off the middle."""


class Face(NamedTuple):
    """The place of a face in a picture file, in pixels."""

    middle: Resolution
    size: Resolution


def read_face_range(value: Any) -> Any:
    """Check a face_crop_aug_range, and write a list or a pair in brackets as "low,high"."""
    if value is None or value == "":
        return None
    if isinstance(value, (list, tuple)):
        value = ",".join(str(part) for part in value)
    if isinstance(value, str):
        low, high = face_range(value)
        return f"{low},{high}"
    return value


def face_range(text: str) -> tuple[float, float]:
    """Read "low,high".

    Raises:
        ConfigError: these are no two numbers above 0, the smaller first.
    """
    try:
        low, high = (float(part) for part in text.strip(" ()[]").split(","))
    except ValueError:
        low = high = math.nan
    if not 0 < low <= high < 1e6:
        raise ConfigError(
            f"face_crop_aug_range {text!r:.80} is no pair of numbers above 0, the smaller first",
            where="face_crop_aug_range",
            fix='write "2.0,4.0" for crops of two to four times the size of a face',
        )
    return low, high


def face_of(path: Path) -> Face | None:
    """Return the face that a picture's name tells; None if it tells none."""
    match = _NUMBERS.fullmatch(path.stem)
    if match is None:
        return None
    x, y, width, height = map(int, match.groups())
    return Face((x, y), (width, height)) if x and max(width, height) else None


def crop_to_face(
    crop: Crop, face: Face, limits: tuple[float, float], rng: random.Random, *, anywhere: bool
) -> Crop:
    """Draw a crop around a face.

    Args:
        crop: of the picture without regard to the face; its bucket is what is cut out.
        face: in the picture file.
        limits: how many times as large as the face the crop's shorter side is, at least and at
            most. The picture is never enlarged for it, unless it does not cover the bucket.
        rng: what is drawn depends on it alone.
        anywhere: random_crop: the face may be far from the middle, too.
    """
    if crop.original == crop.bucket:
        return crop
    largest, short = max(face.size), min(crop.bucket)
    cover = max(wanted / side for wanted, side in zip(crop.bucket, crop.original, strict=True))
    most = max(1.0, cover)
    low = min(most, max(cover, short / (largest * limits[1])))
    high = min(most, max(low, short / (largest * limits[0])))
    scale = low if low >= high else rng.uniform(low, high)
    resized = [
        max(int(side * scale + 0.5), wanted)
        for side, wanted in zip(crop.original, crop.bucket, strict=True)
    ]
    starts = [0, 0]
    for axis in (1, 0):  # sd-scripts draws the height first
        middle = int(face.middle[axis] * scale + 0.5)
        start = middle - crop.bucket[axis] // 2
        if anywhere:
            far = max(resized[axis] - middle, middle)
            start += rng.randint(0, far) + rng.randint(0, far) - far
        elif limits[0] != limits[1] and largest > short // 10 and largest >= _SMALLEST_SHIFTED:
            start += rng.randint(-largest // 20, largest // 20)
        starts[axis] = max(0, min(start, resized[axis] - crop.bucket[axis]))
    return Crop(crop.original, crop.bucket, (resized[0], resized[1]), offset=(starts[0], starts[1]))
