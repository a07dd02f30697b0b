"""Rules about the pictures that are held out for validation."""

from __future__ import annotations

from collections.abc import Iterator

from lycoris_ext.data.findings import Code, Finding, Location
from lycoris_ext.data.rules.registry import rule
from lycoris_ext.data.scan import FolderContent, Scan
from lycoris_ext.words import count

HELD_OUT = Code(
    "LX090",
    "warning",
    "validation_split holds out no picture of a folder, or leaves nothing to train of it (an error "
    "if nothing is left at all); or a picture that is held out is in another folder, too.",
)


@rule(HELD_OUT)
def unfit_splits(scan: Scan) -> Iterator[Finding]:
    split = [
        found
        for found in scan.folders
        if found.subset.validation_split > 0 and not found.subset.is_reg and found.pictures
    ]
    held = [picture for picture in scan.pictures if picture.is_held_out]
    if held and not any(picture.is_training for picture in scan.pictures):
        yield HELD_OUT.finding(
            [found.subset.place for found in split],
            "validation_split holds out all pictures, so that nothing is left to train",
            "lower validation_split, or name a folder of pictures to train",
            "error",
        )
        return
    yield from _uneven(split)
    yield from _elsewhere(scan)


def _uneven(split: list[FolderContent]) -> Iterator[Finding]:
    """Find folders of which nothing is held out, or nothing is left."""
    if none := [found for found in split if not _held(found)]:
        yield HELD_OUT.finding(
            list(map(_shown, none)),
            f"validation_split holds out no picture of {count(len(none), 'folder')}, because its "
            "share of the pictures rounds to 0",
            "raise validation_split, or remove it there",
        )
    whole = [one for one in split if one.subset.validation_split < 1]
    if emptied := [found for found in whole if _held(found) == len(found.pictures)]:
        yield HELD_OUT.finding(
            list(map(_shown, emptied)),
            f"validation_split leaves nothing to train of {count(len(emptied), 'folder')}",
            "lower validation_split, or set it to 1 if this folder is for validation alone",
        )


def _elsewhere(scan: Scan) -> Iterator[Finding]:
    """Find pictures that are held out and, in another folder or as a copy, are trained."""
    twins = [path for found in scan.folders for path in found.twins]
    if twins:
        yield HELD_OUT.finding(
            twins,
            f"{count(len(twins), 'picture is', 'pictures are')} not trained in one place, because "
            "another place holds the same file out for validation",
            "give both the same validation_split and validation_seed if both are to be validated",
            "note",
        )
    held = {one.file.digest: one.picture for one in scan.checked if one.picture.is_held_out}
    copies = [
        Location(one.picture.path, f"the same as {held[one.file.digest].path}")
        for one in scan.checked
        if one.file.digest in held and not one.picture.is_held_out
    ]
    if copies:
        yield HELD_OUT.finding(
            copies,
            f"{count(len(copies), 'picture is', 'pictures are')} trained of which validation_split "
            "holds out a copy, so that the loss of the copy says nothing",
            "delete the copies",
        )


def _held(found: FolderContent) -> int:
    return sum(picture.is_held_out for picture in found.pictures)


def _shown(found: FolderContent) -> Location:
    number = count(len(found.pictures), "picture")
    split = found.subset.validation_split
    return Location(found.subset.place, f"{number}, validation_split {split:g}")
