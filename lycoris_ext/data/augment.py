"""Crops and colours that are drawn anew each time a picture is shown, under sd-scripts' names.

What is drawn depends on the run's seed, the epoch and the sample alone, so that a resumed run and
one with any number of worker processes see the same pictures.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from lycoris_ext.data.buckets import Crop, Resolution, choose_crop
from lycoris_ext.data.faces import Face, crop_to_face, face_of, face_range
from lycoris_ext.data.subset import Subset


def usual_crop(size: Resolution, subset: Subset) -> Crop:
    """Choose the bucket of a picture, and how it is scaled and cropped where nothing is drawn.

    With random_crop and without enable_bucket a picture that covers the resolution is not scaled,
    as in sd-scripts: the crop shows a part of it at its full size.

    Args:
        size: of the picture, (width, height) in pixels, upright.
        subset: its options.
    """
    wanted = subset.size
    covers = size[0] >= wanted[0] and size[1] >= wanted[1]
    if subset.random_crop and not subset.enable_bucket and covers:
        return Crop(size, wanted, size)
    return choose_crop(size, subset)


def is_drawn_anew(path: Path, subset: Subset) -> bool:
    """Tell whether a picture looks otherwise each time, so that no latents of it can be kept."""
    return subset.color_aug or subset.random_crop or _face(path, subset) is not None


def draw_crop(crop: Crop, path: Path, subset: Subset, rng: random.Random) -> Crop:
    """Draw the crop with which a picture is shown once.

    Args:
        crop: what ``usual_crop`` returned.
        path: the picture file, whose name may tell the place of a face.
        subset: its options.
        rng: what is drawn depends on it alone.
    """
    face = _face(path, subset)
    if face is not None and subset.face_crop_aug_range is not None:
        limits = face_range(subset.face_crop_aug_range)
        return crop_to_face(crop, face, limits, rng, anywhere=subset.random_crop)
    if not subset.random_crop:
        return crop
    left, top = (
        rng.randint(0, side - wanted) if side > wanted else 0
        for side, wanted in zip(crop.resized, crop.bucket, strict=True)
    )
    return replace(crop, offset=(left, top))


def _face(path: Path, subset: Subset) -> Face | None:
    """Return the face that the crop follows; None if it follows none."""
    if subset.face_crop_aug_range is None or subset.enable_bucket:
        return None
    return face_of(path)
