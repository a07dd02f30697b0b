"""Rules about masks from a folder."""

from __future__ import annotations

from collections.abc import Iterator

from lycoris_ext.data.findings import Code, Finding, Location
from lycoris_ext.data.masks import fits
from lycoris_ext.data.rules.registry import rule
from lycoris_ext.data.scan import Scan
from lycoris_ext.words import count

WITHOUT = Code("LX085", "error", "A picture has no mask in conditioning_data_dir.")
SPARE = Code("LX086", "warning", "A mask in conditioning_data_dir belongs to no picture.")
OTHER_SHAPE = Code("LX087", "error", "A mask has other proportions than its picture.")
NO_MASKS = Code("LX088", "warning", "masked_loss is set, and no picture has a mask.")


@rule(WITHOUT)
def pictures_without_masks(scan: Scan) -> Iterator[Finding]:
    faults = {one.masks.folder: one.masks.fault for one in scan.folders if one.masks}
    for folder, fault in faults.items():
        if fault:
            fix = "correct conditioning_data_dir: it holds a mask for each picture"
            yield WITHOUT.finding([folder], f"the folder of masks {fault}", fix)
    without = [
        picture.path
        for found in scan.folders
        if found.masks and not found.masks.fault and not found.subset.is_reg
        for picture in found.pictures
        if picture.mask is None
    ]
    if without:
        number = count(len(without), "picture has", "pictures have")
        yield WITHOUT.finding(
            without,
            f"{number} no mask in conditioning_data_dir",
            "put a picture of the same name there; one that is white all over counts everywhere",
        )


@rule(SPARE)
def masks_without_pictures(scan: Scan) -> Iterator[Finding]:
    read = [found for found in scan.folders if found.masks]
    used = {picture.mask for found in read for picture in found.pictures}
    listed = {path for found in read if found.masks for path in found.masks.files.values()}
    spare = sorted(listed - used)
    if spare:
        number = count(len(spare), "mask belongs", "masks belong")
        yield SPARE.finding(
            spare,
            f"{number} to no picture",
            "give each mask the name of its picture, or delete it",
        )


@rule(OTHER_SHAPE)
def masks_of_other_shapes(scan: Scan) -> Iterator[Finding]:
    wrong = [
        Location(one.picture.mask, "{}x{} for {}x{}".format(*one.mask.size, *one.file.size))
        for one in scan.checked
        if one.mask and one.picture.mask and not fits(one.mask.size, one.file.size)
    ]
    if wrong:
        number = count(len(wrong), "mask has", "masks have")
        yield OTHER_SHAPE.finding(
            wrong,
            f"{number} other proportions than the picture",
            "cut masks as their pictures were cut; they may be smaller or larger",
        )


@rule(NO_MASKS)
def masked_loss_without_masks(scan: Scan) -> Iterator[Finding]:
    subsets = [found.subset for found in scan.folders]
    if scan.config.masked_loss and not any(
        one.conditioning_data_dir or one.alpha_mask for one in subsets
    ):
        yield NO_MASKS.finding(
            [],
            "masked_loss is set, and no picture has a mask",
            "set conditioning_data_dir to the folder of masks, or alpha_mask = true to use the "
            "pictures' own transparency",
        )
