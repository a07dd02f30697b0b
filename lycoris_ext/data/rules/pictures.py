"""Rules about picture files; they find nothing before the pictures were decoded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lycoris_ext.data.decode import Note
from lycoris_ext.data.findings import Code, Finding, Location
from lycoris_ext.data.picture_header import MOST_PIXELS
from lycoris_ext.data.rules.registry import rule
from lycoris_ext.data.scan import CheckedPicture, Scan
from lycoris_ext.words import count

DAMAGED = Code("LX012", "error", "A picture file is damaged, or cannot be used as it is.")
NARROW = Code(
    "LX013",
    "error",
    "A picture is so narrow that scaling it over its bucket would fill the memory.",
)
ANIMATED = Code("LX014", "note", "Of an animated picture only the first frame is trained.")
PROFILE = Code(
    "LX015",
    "warning",
    "The colour profile of a picture cannot be used, and its colours are taken as sRGB.",
)
TRANSPARENT = Code("LX016", "note", "The transparent parts of a picture become white.")
CMYK = Code(
    "LX041",
    "note",
    "A picture has the colours of a printer (CMYK) without a profile, and they are only guessed.",
)
TURNED = Code(
    "LX042",
    "note",
    "A picture is turned upright as its EXIF says; sd-scripts trains it lying on its side.",
)


@rule(DAMAGED)
def damaged_pictures(scan: Scan) -> Iterator[Finding]:
    for fix in dict.fromkeys(damaged.fix for damaged in scan.damaged):
        locations = [Location(d.picture.path, d.fault) for d in scan.damaged if d.fix == fix]
        yield DAMAGED.finding(
            locations,
            f"{len(locations)} of {count(len(scan.pictures), 'picture')} cannot be used",
            fix,
        )


@rule(NARROW)
def pictures_too_narrow_for_their_bucket(scan: Scan) -> Iterator[Finding]:
    narrow = [
        Location(checked.picture.path, _growth(checked))
        for checked in scan.checked
        if checked.crop.resized[0] * checked.crop.resized[1] > MOST_PIXELS
    ]
    if narrow:
        yield NARROW.finding(
            narrow,
            f"{count(len(narrow), 'picture fits', 'pictures fit')} no bucket",
            "cut or delete these pictures",
        )


def _growth(checked: CheckedPicture) -> str:
    size, bucket, resized = (
        f"{width}x{height}"
        for width, height in (
            checked.file.size,
            checked.crop.bucket,
            checked.crop.resized,
        )
    )
    return f"to cover {bucket} its {size} pixels would grow to {resized}"


@rule(ANIMATED)
def animated_pictures(scan: Scan) -> Iterator[Finding]:
    if paths := _noted(scan, "animated"):
        number = count(len(paths), "animated picture is", "animated pictures are")
        yield ANIMATED.finding(paths, f"{number} trained on the first frame")


@rule(PROFILE)
def unusable_colour_profiles(scan: Scan) -> Iterator[Finding]:
    if paths := _noted(scan, "profile"):
        number = count(len(paths), "picture has", "pictures have")
        yield PROFILE.finding(
            paths,
            f"{number} a colour profile that cannot be used, and the colours are taken as sRGB",
        )


@rule(TRANSPARENT)
def transparent_pictures(scan: Scan) -> Iterator[Finding]:
    if paths := _noted(scan, "transparent"):
        number = count(len(paths), "picture has", "pictures have")
        yield TRANSPARENT.finding(
            paths,
            f"{number} transparent parts, which become white",
            "set alpha_mask = true to leave these parts out of the loss instead",
        )


@rule(CMYK)
def pictures_in_cmyk(scan: Scan) -> Iterator[Finding]:
    if paths := _noted(scan, "cmyk"):
        number = count(len(paths), "picture has", "pictures have")
        yield CMYK.finding(
            paths,
            f"{number} the colours of a printer (CMYK) without a profile, and they are guessed",
            "save them as RGB if the colours look wrong",
        )


@rule(TURNED)
def turned_pictures(scan: Scan) -> Iterator[Finding]:
    if paths := _noted(scan, "turned"):
        number = count(len(paths), "picture is", "pictures are")
        yield TURNED.finding(paths, f"{number} turned upright as the EXIF says")


def _noted(scan: Scan, note: Note) -> list[Path]:
    return [checked.picture.path for checked in scan.checked if note in checked.file.notes]
