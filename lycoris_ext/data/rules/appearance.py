"""Rules about what pictures look like; they find nothing before the pictures were measured.

Their limits are such that of 158 photographs and 238 paintings none is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lycoris_ext.data.findings import Code, Finding, Location
from lycoris_ext.data.measures import Measures
from lycoris_ext.data.rules.registry import rule
from lycoris_ext.data.scan import CheckedPicture, Scan
from lycoris_ext.words import count

BLURRED = Code("LX030", "note", "A picture is so blurred that a thumbnail of it shows as much.")
PLAIN = Code("LX031", "note", "Nearly all of a picture is of one brightness.")
DARK = Code("LX032", "note", "A picture is dark all over.")
LIGHT = Code("LX033", "note", "A picture is nearly white all over.")
GREY = Code("LX034", "note", "A picture is grey, while nearly all others have colours.")
ENLARGED = Code(
    "LX038",
    "note",
    "A picture has the detail of a smaller one, as after enlarging, and of less than is trained.",
)

_BLURRED = 64
"""A picture is blurred if its detail fits into this many pixels on its shorter side."""
_SHARP = 128
"""The shorter side in pixels below which the detail of a picture is not judged."""
_PLAIN = 0.97
_DARK, _LIGHT = 80, 240
_GLOWING = 128
"""A dark picture has no colour that is stronger: pure red and blue have little brightness."""
_GREY = 8
_FEW = 0.1
"""Grey pictures are told if they are at most this part of all."""
_ENLARGED = 1.5
"""What is trained has this many times the pixels, on a side, of which the picture has detail."""

Look = Callable[[Measures], bool]


@rule(BLURRED)
def blurred_pictures(scan: Scan) -> Iterator[Finding]:
    if found := [
        Location(one.picture.path, _detail(one)) for one in _judged(scan) if _blurred(one)
    ]:
        yield BLURRED.finding(
            found,
            f"{count(len(found), 'picture is', 'pictures are')} blurred",
            "delete them, unless blur is meant",
        )


@rule(PLAIN)
def plain_pictures(scan: Scan) -> Iterator[Finding]:
    if found := _looking(scan, _plain):
        number = count(len(found), "picture is", "pictures are")
        yield PLAIN.finding(found, f"{number} nearly all of one brightness", "look at them")


@rule(DARK)
def dark_pictures(scan: Scan) -> Iterator[Finding]:
    if found := _looking(scan, _dark):
        number = count(len(found), "picture is", "pictures are")
        yield DARK.finding(found, f"{number} dark all over", "look at them")


@rule(LIGHT)
def light_pictures(scan: Scan) -> Iterator[Finding]:
    if found := _looking(scan, lambda seen: seen.darkest > _LIGHT and not _plain(seen)):
        number = count(len(found), "picture is", "pictures are")
        yield LIGHT.finding(found, f"{number} nearly white all over", "look at them")


@rule(GREY)
def grey_pictures(scan: Scan) -> Iterator[Finding]:
    found = _looking(scan, lambda seen: seen.colour <= _GREY)
    if found and len(found) <= _FEW * len(_judged(scan)):
        number = count(
            len(found),
            "picture is grey and all others have",
            "pictures are grey and all others have",
        )
        yield GREY.finding(
            found, f"{number} colours", 'write a tag such as "monochrome" into their captions'
        )


@rule(ENLARGED)
def enlarged_pictures(scan: Scan) -> Iterator[Finding]:
    found = [Location(one.picture.path, _detail(one)) for one in _judged(scan) if _enlarged(one)]
    if found:
        yield ENLARGED.finding(
            found,
            f"{count(len(found), 'picture has', 'pictures have')} the detail of smaller ones, as "
            "after enlarging",
            "use the originals if they are sharper",
        )


def _judged(scan: Scan) -> list[CheckedPicture]:
    """Return each measured file once."""
    files = {one.picture.path: one for one in scan.checked}
    return [one for one in files.values() if one.file.measures]


def _looking(scan: Scan, look: Look) -> list[Location]:
    return [
        Location(one.picture.path)
        for one in _judged(scan)
        if one.file.measures and look(one.file.measures)
    ]


def _dark(seen: Measures) -> bool:
    return seen.brightest < _DARK and seen.colour < _GLOWING and not _plain(seen)


def _plain(seen: Measures) -> bool:
    return seen.plain >= _PLAIN


def _blurred(one: CheckedPicture) -> bool:
    return min(one.file.size) >= _SHARP and min(_detailed(one)) <= _BLURRED


def _enlarged(one: CheckedPicture) -> bool:
    trained, side = min(one.crop.resized), min(one.file.size)
    is_small = side < _SHARP or trained > _ENLARGED * side
    return not is_small and trained > _ENLARGED * min(_detailed(one)) and not _blurred(one)


def _detailed(one: CheckedPicture) -> tuple[int, int]:
    """Return the size, in pixels, to which the picture may be scaled down and loses nothing."""
    halvings = one.file.measures.halvings if one.file.measures else 0
    width, height = one.file.size
    return max(1, width >> halvings), max(1, height >> halvings)


def _detail(one: CheckedPicture) -> str:
    (width, height), (few, fewer) = one.file.size, _detailed(one)
    return f"{width}x{height} pixels with the detail of {few}x{fewer}"
