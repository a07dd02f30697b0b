"""Rules about crops and colours that are drawn anew."""

from __future__ import annotations

from collections.abc import Iterator

from lycoris_ext.data.faces import face_of
from lycoris_ext.data.findings import Code, Finding
from lycoris_ext.data.rules.registry import rule
from lycoris_ext.data.scan import Scan
from lycoris_ext.words import count

NO_FACE = Code("LX089", "warning", "face_crop_aug_range has no effect on a picture.")


@rule(NO_FACE)
def pictures_that_are_not_cropped_to_faces(scan: Scan) -> Iterator[Finding]:
    asked = [one for one in scan.pictures if one.subset.face_crop_aug_range is not None]
    in_buckets = [one.path for one in asked if one.subset.enable_bucket]
    if in_buckets:
        yield NO_FACE.finding(
            in_buckets,
            "face_crop_aug_range has no effect with enable_bucket = true, as in sd-scripts",
            "set enable_bucket = false, or leave face_crop_aug_range out",
        )
    faceless = [
        one.path for one in asked if not one.subset.enable_bucket and face_of(one.path) is None
    ]
    if faceless:
        number = count(len(faceless), "name tells", "names tell")
        yield NO_FACE.finding(
            faceless,
            f"{number} no face for face_crop_aug_range",
            "call the pictures NAME_X_Y_WIDTH_HEIGHT, with the face's middle and size in pixels",
        )
