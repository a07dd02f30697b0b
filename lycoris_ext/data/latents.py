"""Latents of all pictures, computed once by the frozen VAE before the first step and kept in
memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lycoris_ext.data.config import Resolution
from lycoris_ext.data.dataset import BatchPlan, TrainingSet
from lycoris_ext.data.pictures import open_picture, picture_to_tensor
from lycoris_ext.data.randomness import torch_generator
from lycoris_ext.errors import DataError

EncodePosterior = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Pixels [B, 3, H, W] in [-1, 1] -> mean and standard deviation [B, C, h, w] of the scaled latents.
"""


@dataclass(frozen=True)
class Posterior:
    """The VAE's answer for one picture: float32 [C, h, w] each, on the CPU."""

    mean: Tensor
    std: Tensor


class LatentCache:
    """Latents of a training set; sampling them is a function of (seed, batch number, sample id)."""

    def __init__(self, upright: list[Posterior], mirrored: list[Posterior] | None) -> None:
        self._upright = upright
        self._mirrored = mirrored

    def latents(self, plan: BatchPlan, seed: int) -> Tensor:
        """Draw the latents of a batch.

        Returns:
            float32 [B, C, h, w] on the CPU.
        """
        drawn = []
        for picture, flipped, sample_id in zip(
            plan.pictures, plan.flipped, plan.sample_ids, strict=True
        ):
            source = self._mirrored if flipped and self._mirrored is not None else self._upright
            posterior = source[picture]
            generator = torch_generator(seed, "latent", plan.number, sample_id)
            noise = torch.randn(posterior.mean.shape, generator=generator)
            drawn.append(posterior.mean + posterior.std * noise)
        return torch.stack(drawn)


def cache_latents(
    training_set: TrainingSet,
    encode: EncodePosterior,
    *,
    batch_size: int = 1,
    progress: Callable[[int], object] | None = None,
) -> LatentCache:
    """Encode every picture, and its mirror image where flip_aug asks for it.

    Args:
        training_set: pictures and where each is cut.
        encode: the frozen VAE.
        batch_size: pictures per call of `encode`; they share a bucket.
        progress: called with the number of pictures done since the last call.

    Raises:
        DataError: the VAE answers NaN or infinity for a picture; the message names it.
    """
    by_bucket: dict[Resolution, list[int]] = defaultdict(list)
    for number, placement in enumerate(training_set.placements):
        by_bucket[placement.bucket].append(number)
    upright: dict[int, Posterior] = {}
    mirrored: dict[int, Posterior] = {}
    for bucket in sorted(by_bucket):
        members = by_bucket[bucket]
        for start in range(0, len(members), batch_size):
            numbers = members[start : start + batch_size]
            pixels = torch.stack([_pixels(training_set, number) for number in numbers])
            upright.update(_encode(training_set, numbers, pixels, encode))
            if training_set.config.flip_aug:
                mirrored.update(_encode(training_set, numbers, pixels.flip(3), encode))
            if progress is not None:
                progress(len(numbers))
    order = range(len(training_set.pictures))
    return LatentCache(
        [upright[number] for number in order],
        [mirrored[number] for number in order] if mirrored else None,
    )


def _pixels(training_set: TrainingSet, number: int) -> Tensor:
    picture = open_picture(training_set.pictures[number].path)
    return picture_to_tensor(picture, training_set.placements[number])


@torch.no_grad()
def _encode(
    training_set: TrainingSet, numbers: list[int], pixels: Tensor, encode: EncodePosterior
) -> dict[int, Posterior]:
    means, stds = (part.detach().to("cpu", torch.float32) for part in encode(pixels))
    result = {}
    for number, mean, std in zip(numbers, means, stds, strict=True):
        if not bool(mean.isfinite().all() and std.isfinite().all()):
            raise DataError(
                "the VAE turns this picture into NaN or infinity",
                where=str(training_set.pictures[number].path),
                fix='use a VAE that works in half precision, or mixed_precision = "no"',
            )
        result[number] = Posterior(mean.clone(), std.clone())
    return result
