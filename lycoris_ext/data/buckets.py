"""Aspect ratio buckets: which size each picture is scaled and cropped to, as sd-scripts does it.

A bucket is a (width, height) whose area is at most that of the option `resolution`. A picture goes
into the bucket whose aspect ratio is nearest to its own, is scaled until it just covers the bucket,
and the bucket is cut out of its centre.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.options import Section, option

Resolution = tuple[int, int]
"""(width, height) in pixels."""

USUAL_RESOLUTION = 512
"""Side in pixels where neither the user nor a base model says one: sd-scripts' own."""
LONGEST_SIDE = 16384
"""Pixels of the largest resolution."""
SD_SCRIPTS_BUCKETS = (256, 1024, 64)
"""sd-scripts' min_bucket_reso, max_bucket_reso and bucket_reso_steps."""


def _read_resolution(value: Any) -> Any:
    """Check a resolution, and turn a list [width, height] into the text "width,height"."""
    if isinstance(value, (list, tuple)):
        value = ",".join(str(part) for part in value)
    if isinstance(value, (int, str)):
        _parse_resolution(value)
    return value


def _parse_resolution(value: int | str) -> Resolution:
    parts = [part.strip() for part in str(value).split(",")]
    if len(parts) not in (1, 2) or not all(map(_is_side, parts)):
        raise ConfigError(
            f"resolution {value!r:.80} is neither one number nor two, each up to {LONGEST_SIDE}",
            where="resolution",
            fix='write 512, or "512,768" for width and height in pixels',
        )
    return int(parts[0]), int(parts[-1])


def _is_side(text: str) -> bool:
    return text.isdecimal() and len(text) < 10 and 0 < int(text) <= LONGEST_SIDE


@dataclass(frozen=True, init=False)
class BucketOptions(Section):
    """The sizes and shapes that pictures are scaled and cropped to."""

    resolution: int | str | None = option(
        None,
        'Side in pixels of the square that pictures are cut to, such as 512, or "width,height"; '
        "with enable_bucket other shapes of the same area are used as well.",
        unset="the size that the base model was made for, such as 512 for Stable Diffusion 1 and "
        "1024 for XL",
        low=8,
        high=LONGEST_SIDE,
        step=8,
        read=_read_resolution,
    )
    enable_bucket: bool = option(
        True,
        "Cut each picture to the shape nearest to its own among those with the area of resolution; "
        "off: cut every picture to resolution itself.",
    )
    min_bucket_reso: int | None = option(
        None,
        "Shortest side in pixels that a picture is cut to with enable_bucket.",
        unset="256, or half the resolution where 256 does not fit",
        low=1,
        high=LONGEST_SIDE,
    )
    max_bucket_reso: int | None = option(
        None,
        "Longest side in pixels that a picture is cut to with enable_bucket.",
        unset="1024, or twice the resolution where 1024 does not fit",
        low=1,
        high=2 * LONGEST_SIDE,
    )
    bucket_reso_steps: int | None = option(
        None,
        "With enable_bucket: width and height of cropped pictures are multiples of this number of "
        "pixels.",
        unset="64, or 16 for a resolution below 256",
        low=1,
        high=LONGEST_SIDE,
        fix="use a multiple of 8 for Stable Diffusion",
    )
    bucket_no_upscale: bool = option(
        False,
        "With enable_bucket: never enlarge a picture. One that is smaller than the resolution is "
        "cropped to the largest multiples of bucket_reso_steps that it contains.",
    )

    @cached_property
    def size(self) -> Resolution:
        """`resolution` as (width, height) in pixels; USUAL_RESOLUTION if it is unset.

        A run sets it from its base model before it looks at pictures (``training.door``).
        """
        return _parse_resolution(self.resolution or USUAL_RESOLUTION)

    @cached_property
    def bucket_limits(self) -> tuple[int, int, int]:
        """min_bucket_reso, max_bucket_reso, bucket_reso_steps in pixels, with defaults filled in.

        The defaults are sd-scripts' where the resolution lies between its limits. A smaller or
        larger resolution, for which sd-scripts would stop, gets limits of half and twice its sides.
        Limits that are no multiples of the step are widened to the next multiple, as in sd-scripts.
        """
        low, high, step = SD_SCRIPTS_BUCKETS
        short, long = min(self.size), max(self.size)
        if self.bucket_reso_steps is not None:
            step = self.bucket_reso_steps
        elif short < low:
            step = 16
        if short < low:
            low = max(step, short // 2 // step * step)
        if long > high:
            high = long * 2
        elif short < SD_SCRIPTS_BUCKETS[0]:
            high = max(long * 2, low)
        low, high = self.min_bucket_reso or low, self.max_bucket_reso or high
        return max(step, low // step * step), -(-high // step) * step, step

    def contradictions(self) -> Iterator[LycorisExtError]:
        yield from super().contradictions()
        if not self.enable_bucket or self.resolution is None:
            return
        low, high, _ = self.bucket_limits
        if min(self.size) < low:
            yield ConfigError(
                f"min_bucket_reso {low} is above the resolution {self.resolution}",
                where="min_bucket_reso",
                fix=f"set min_bucket_reso to at most {min(self.size)} or raise resolution",
            )
        if max(self.size) > high:
            yield ConfigError(
                f"max_bucket_reso {high} is below the resolution {self.resolution}",
                where="max_bucket_reso",
                fix=f"set max_bucket_reso to at least {max(self.size)} or lower resolution",
            )


@dataclass(frozen=True)
class Crop:
    """How one picture is scaled and cropped to its bucket; sizes are (width, height) in pixels.

    Args:
        original: size of the picture file, upright.
        bucket: size that is trained.
        resized: size that the picture is scaled to, which covers the bucket.
        offset: (left, top) of the bucket within the resized picture; None: at its centre.
    """

    original: Resolution
    bucket: Resolution
    resized: Resolution
    offset: tuple[int, int] | None = None

    @property
    def crop_box(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) of the bucket within the resized picture."""
        left, top = self.offset or (
            (self.resized[0] - self.bucket[0]) // 2,
            (self.resized[1] - self.bucket[1]) // 2,
        )
        return left, top, left + self.bucket[0], top + self.bucket[1]

    @property
    def lost(self) -> float:
        """The share of the scaled picture that the crop cuts off."""
        return 1 - math.prod(self.bucket) / math.prod(self.resized)

    def size_ids(self, flipped: bool) -> tuple[int, int, int, int, int, int]:
        """Return SDXL's size conditioning: original (h, w), crop (top, left), bucket (h, w).

        Args:
            flipped: the picture is mirrored, so that the crop is measured from its right edge.
        """
        left, top, right, _ = self.crop_box
        left = self.resized[0] - right if flipped else left
        return *self.original[::-1], top, left, *self.bucket[::-1]


@lru_cache  # asked for once a picture
def bucket_resolutions(
    size: Resolution, min_reso: int, max_reso: int, step: int
) -> tuple[Resolution, ...]:
    """Return all buckets for a resolution, sorted.

    For each width from min_reso to max_reso there is a bucket with the tallest multiple of `step`
    that stays within the area of `size`, in both orientations; a square one is always among them.
    """
    area = size[0] * size[1]
    square = int(math.sqrt(area) // step) * step
    found = {(square, square)}
    for width in range(min_reso, max_reso + 1, step):
        height = min(max_reso, area // width // step * step)
        if height >= min_reso:
            found |= {(width, height), (height, width)}
    return tuple(sorted(found))


def choose_crop(picture: Resolution, options: BucketOptions) -> Crop:
    """Choose the bucket of a picture, and the size to scale it to first.

    Args:
        picture: its (width, height) in pixels, upright.
        options: those of the picture's subset.
    """
    low, high, step = options.bucket_limits
    if not options.enable_bucket:
        return _cover(picture, options.size)
    if options.bucket_no_upscale:
        return _crop_without_enlarging(picture, options.size, step)
    buckets = bucket_resolutions(options.size, low, high, step)
    if picture in buckets:
        return _cover(picture, picture)
    ratio = picture[0] / picture[1]
    # min() keeps the first of equals, as argmin over the sorted list does.
    return _cover(picture, min(buckets, key=lambda bucket: abs(bucket[0] / bucket[1] - ratio)))


def _cover(picture: Resolution, bucket: Resolution) -> Crop:
    """Return the crop that scales a picture until it just covers a bucket."""
    wider = picture[0] / picture[1] > bucket[0] / bucket[1]
    scale = bucket[1] / picture[1] if wider else bucket[0] / picture[0]
    width, height = (int(side * scale + 0.5) for side in picture)
    # max(): rounding must not leave the picture a pixel short.
    return Crop(picture, bucket, (max(width, bucket[0]), max(height, bucket[1])))


def _crop_without_enlarging(picture: Resolution, size: Resolution, step: int) -> Crop:
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
        return Crop(picture, bucket, resized)
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
