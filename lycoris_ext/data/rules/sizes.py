"""Rules about the size and shape of pictures, and what their buckets make of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from statistics import median, quantiles

from lycoris_ext.data.findings import Code, Finding, Location
from lycoris_ext.data.rules.registry import rule
from lycoris_ext.data.scan import CheckedPicture, Scan
from lycoris_ext.words import count

NARROW = Code("LX035", "note", "A picture is more than three times as long as it is wide.")
ODD_SIZE = Code("LX036", "note", "The size of a picture is far from that of nearly all others.")
LOST = Code("LX039", "note", "A picture loses 40 % or more of itself to its crop.")
SMALL = Code("LX040", "note", "A picture is smaller than its bucket and has to be enlarged.")

_NARROW = 3
_LOST = 0.4
"""A photo of 3:2 that is cut to a square loses a third, one of 16:9 loses 44 %."""
_ENLARGED = 1.25
_COMPARED = 10
"""With fewer pictures there is no usual size."""
_FAR = 4
"""How many times longer or shorter than usual an odd size is on a side, beyond the usual range."""


@rule(NARROW)
def narrow_pictures(scan: Scan) -> Iterator[Finding]:
    found = _each(scan, lambda one: max(one.file.size) > _NARROW * min(one.file.size), _pixels)
    if found:
        number = count(len(found), "picture is", "pictures are")
        yield NARROW.finding(
            found, f"{number} more than three times as long as wide", "cut out what matters"
        )


@rule(ODD_SIZE)
def odd_sizes(scan: Scan) -> Iterator[Finding]:
    sides = {one.picture.path: _side(one) for one in scan.checked}
    if len(sides) < _COMPARED:
        return
    low, _, high = quantiles(sides.values(), n=4)
    usual, far = median(sides.values()), _FAR * high / low
    found = _each(scan, lambda one: not usual / far < _side(one) < usual * far, _pixels)
    if found:
        yield ODD_SIZE.finding(
            found,
            f"{count(len(found), 'picture has a size', 'pictures have sizes')} far from the usual "
            f"one, about {usual:.0f}x{usual:.0f} pixels",
        )


@rule(LOST)
def pictures_lost_to_their_crop(scan: Scan) -> Iterator[Finding]:
    found = _each(
        scan,
        lambda one: one.crop.lost >= _LOST,
        lambda one: f"{one.crop.lost:.0%} of {_pixels(one)}",
    )
    if found:
        number = count(len(found), "picture loses", "pictures lose")
        fix = "cut them to another shape yourself"
        if not all(one.picture.subset.enable_bucket for one in scan.checked):
            fix = f"set enable_bucket = true, or {fix}"
        yield LOST.finding(found, f"{number} 40 % or more to the crop", fix)


@rule(SMALL)
def pictures_smaller_than_their_buckets(scan: Scan) -> Iterator[Finding]:
    found = _each(
        scan,
        lambda one: one.crop.resized[0] > _ENLARGED * one.file.size[0],
        lambda one: f"{_pixels(one)} to {one.crop.resized[0]}x{one.crop.resized[1]}",
    )
    if found:
        number = count(len(found), "picture is", "pictures are")
        yield SMALL.finding(
            found,
            f"{number} enlarged to cover the bucket",
            "set a lower resolution, or leave these pictures out if there are better ones",
        )


def _each(
    scan: Scan, is_told: Callable[[CheckedPicture], bool], detail: Callable[[CheckedPicture], str]
) -> list[Location]:
    """Return each file once that is to be told, with something about it."""
    told = {one.picture.path: detail(one) for one in scan.checked if is_told(one)}
    return [Location(path, text) for path, text in told.items()]


def _side(one: CheckedPicture) -> float:
    return math.sqrt(math.prod(one.file.size))


def _pixels(one: CheckedPicture) -> str:
    return f"{one.file.size[0]}x{one.file.size[1]} pixels"
