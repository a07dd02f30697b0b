"""The pixels of pictures that are drawn anew each time: decoded, cropped and coloured."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lycoris_ext.data.buckets import Crop
from lycoris_ext.data.colour import draw_colours
from lycoris_ext.data.dataset import BatchPlan, TrainingSet
from lycoris_ext.data.masks import masked
from lycoris_ext.data.pictures import cropped, open_picture
from lycoris_ext.data.randomness import python_random


def pixels_of(training_set: TrainingSet, number: int, crop: Crop) -> Tensor:
    """Return the pixels of a picture, with its mask as a fourth channel if it has one.

    Args:
        training_set: with the picture.
        number: of the picture.
        crop: how it is scaled and cropped.

    Returns:
        uint8 [C, height, width], C = 3 or 4.

    Raises:
        DataError: the file changed since it was checked.
    """
    file = training_set.pictures[number]
    picture = open_picture(
        file.path, alpha_mask=file.subset.alpha_mask, digest=training_set.digests[number]
    )
    if file.mask is not None:
        picture = masked(picture, file.mask, training_set.masks[number])
    return cropped(picture, crop)


def drawn_pixels(training_set: TrainingSet, plan: BatchPlan, at: int) -> Tensor:
    """Return the pixels of one sample of a batch as they are shown this once, not mirrored yet.

    Args:
        training_set: with the picture.
        plan: the batch.
        at: position of the sample in it.

    Returns:
        As ``pixels_of``.
    """
    number, sample_id = plan.pictures[at], plan.sample_ids[at]
    pixels = pixels_of(training_set, number, training_set.crop_at(number, plan.epoch, sample_id))
    if training_set.pictures[number].subset.color_aug:
        rng = python_random(training_set.seed, "colour", plan.epoch, sample_id)
        pixels = torch.cat([draw_colours(pixels[:3], rng), pixels[3:]])
    return pixels


def with_pixels(training_set: TrainingSet, plan: BatchPlan) -> BatchPlan:
    """Add the pixels of the pictures that are drawn anew to a batch.

    Raises:
        DataError: a file changed since it was checked.
    """
    anew = [training_set.drawn_anew[number] for number in plan.pictures]
    if not any(anew):
        return plan
    pixels = tuple(
        drawn_pixels(training_set, plan, at) if drawn else None for at, drawn in enumerate(anew)
    )
    return replace(plan, pixels=pixels)
