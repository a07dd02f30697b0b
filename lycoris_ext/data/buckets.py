"""Aspect buckets: which size a picture is cut to, with the same results as sd-scripts.

A bucket is a (width, height) whose area is at most the resolution's. A picture goes to the bucket
whose aspect ratio is nearest to its own, is scaled so that it just covers the bucket, and is cut at
the centre.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lycoris_ext.data.config import DataConfig, Resolution


@dataclass(frozen=True)
class Placement:
    """How one picture is brought to its bucket, all in pixels as (width, height)."""

    original: Resolution
    bucket: Resolution
    resized: Resolution

    @property
    def crop_box(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) of the centre cut out of the resized picture."""
        left = (self.resized[0] - self.bucket[0]) // 2
        top = (self.resized[1] - self.bucket[1]) // 2
        return left, top, left + self.bucket[0], top + self.bucket[1]

    def size_ids(self, flipped: bool) -> tuple[int, int, int, int, int, int]:
        """What SDXL is told: (height, width) before, (top, left) of the cut, (height, width) of it.

        Args:
            flipped: the picture is mirrored, so that its right edge counts as its left.
        """
        left, top, right, _ = self.crop_box
        left = self.resized[0] - right if flipped else left
        return *self.original[::-1], top, left, *self.bucket[::-1]


def bucket_resolutions(
    size: Resolution, min_reso: int, max_reso: int, step: int
) -> list[Resolution]:
    """All buckets for a resolution, sorted.

    For each width from min_reso to max_reso the tallest multiple of `step` that stays within the
    area, each of them in both orientations, and the square.
    """
    area = size[0] * size[1]
    square = int(math.sqrt(area) // step) * step
    found = {(square, square)}
    for width in range(min_reso, max_reso + 1, step):
        height = min(max_reso, area // width // step * step)
        if height >= min_reso:
            found |= {(width, height), (height, width)}
    return sorted(found)


def place(picture: Resolution, config: DataConfig) -> Placement:
    """Choose the bucket of a picture.

    Args:
        picture: its (width, height) in pixels, upright.
        config: resolution and bucket options.

    Returns:
        The bucket and the size to scale to, which covers it.
    """
    low, high, step = config.bucket_limits
    if not config.enable_bucket:
        return _cover(picture, config.size)
    if config.bucket_no_upscale:
        return _place_without_enlarging(picture, config.size, step)
    buckets = bucket_resolutions(config.size, low, high, step)
    if picture in buckets:
        return _cover(picture, picture)
    ratio = picture[0] / picture[1]
    # min() keeps the first of equals, as argmin over the sorted list does.
    return _cover(picture, min(buckets, key=lambda bucket: abs(bucket[0] / bucket[1] - ratio)))


def _cover(picture: Resolution, bucket: Resolution) -> Placement:
    """Scale until the picture just covers the bucket; never leave it a pixel short by rounding."""
    wider = picture[0] / picture[1] > bucket[0] / bucket[1]
    scale = bucket[1] / picture[1] if wider else bucket[0] / picture[0]
    width, height = (int(side * scale + 0.5) for side in picture)
    return Placement(picture, bucket, (max(width, bucket[0]), max(height, bucket[1])))


def _place_without_enlarging(picture: Resolution, size: Resolution, step: int) -> Placement:
    area = size[0] * size[1]
    resized = picture
    if picture[0] * picture[1] > area:
        ratio = picture[0] / picture[1]
        ideal_width = math.sqrt(area * ratio)
        width = _round_down(ideal_width, step)
        height_for_width = _round_down(width / ratio, step)
        height = _round_down(area / ideal_width, step)
        width_for_height = _round_down(height * ratio, step)
        error_by_width = abs(_ratio(width, height_for_width) - ratio)
        error_by_height = abs(_ratio(width_for_height, height) - ratio)
        if error_by_width < error_by_height:
            resized = (width, int(width / ratio + 0.5))
        else:
            resized = (int(height * ratio + 0.5), height)
    if min(resized) >= step:
        bucket = (resized[0] // step * step, resized[1] // step * step)
        return Placement(picture, bucket, resized)
    # No bucket is smaller than a step, so a picture below that is the only one to be enlarged.
    longest = area // step // step * step
    bucket = (
        min(longest, max(step, resized[0] // step * step)),
        min(longest, max(step, resized[1] // step * step)),
    )
    return _cover(picture, bucket)


def _round_down(value: float, step: int) -> int:
    return int(value + 0.5) // step * step


def _ratio(width: int, height: int) -> float:
    return width / height if height else math.inf
