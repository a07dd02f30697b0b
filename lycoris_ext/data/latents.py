"""Encode all pictures with the frozen VAE once, and draw the latents of every batch from that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from lycoris_ext.data.dataset import BatchPlan, TrainingSet
from lycoris_ext.data.pictures import as_the_vae_sees
from lycoris_ext.data.pixels import drawn_pixels, pixels_of
from lycoris_ext.data.randomness import torch_generator
from lycoris_ext.data.store import MemoryStore, Tensors, TensorStore, cache_key, fetch
from lycoris_ext.errors import DataError

EncodePosterior = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Function of a VAE: pixels [B, 3, H, W] in [-1, 1] -> mean and standard deviation of the latents,
[B, C, h, w] each, multiplied by the model's scaling factor."""

PIXELS_VERSION = 1
"""Part of every cache key. Raise it when pictures are decoded, scaled or cropped differently."""


@dataclass(frozen=True)
class PictureBatch:
    """Latents and loss mask of a batch, on the CPU.

    Args:
        latents: float32 [B, C, h, w].
        mask: float32 [B, 1, h, w] in [0, 1], the weight of each position in the loss; None: all 1.
    """

    latents: Tensor
    mask: Tensor | None


class LatentCache:
    """The VAE's encodings of the pictures of a training set, computed on first use and then kept.

    Of pictures that are drawn anew each time (random_crop, color_aug, face_crop_aug_range) nothing
    is kept: ``batch`` encodes them as they look in it.

    Args:
        training_set: pictures, and how each is cropped.
        encode: the frozen VAE.
        store: keeps the encodings; one that it does not have is computed and saved.
        vae: hash of the VAE's weights, part of the keys in `store`; "" if the store lasts no longer
            than the run.
    """

    def __init__(
        self, training_set: TrainingSet, encode: EncodePosterior, store: TensorStore, vae: str
    ) -> None:
        self._training_set = training_set
        self._encode = encode
        self.store = store
        self._vae = vae
        self.encoded = 0
        """Number of pictures that the VAE encoded so far."""
        self.levels: dict[int, tuple[float, float]] = {}
        """Position of each picture that ``cache_latents`` asked for -> mean and spread of its
        latents."""

    def batch(self, plan: BatchPlan, seed: int) -> PictureBatch:
        """Sample the latents of a batch; their noise depends on seed, batch and sample alone."""
        drawn, masks = [], []
        for at, (number, flipped, sample_id) in enumerate(
            zip(plan.pictures, plan.flipped, plan.sample_ids, strict=True)
        ):
            if self._training_set.drawn_anew[number]:
                kept = self._drawn(plan, at)
            else:
                kept = self.posterior(number, mirrored=flipped)
            generator = torch_generator(seed, "latent", plan.number, sample_id)
            noise = torch.randn(kept["mean"].shape, generator=generator)
            drawn.append(kept["mean"] + kept["std"] * noise)
            masks.append(kept.get("mask"))
        latents = torch.stack(drawn)
        if all(mask is None for mask in masks):
            return PictureBatch(latents, None)
        # Pictures without alpha_mask and conditioning_data_dir have no mask: they count everywhere.
        whole = torch.ones(1, *latents.shape[2:])
        return PictureBatch(latents, torch.stack([whole if m is None else m for m in masks]))

    def posterior(self, number: int, *, mirrored: bool) -> Tensors:
        """Return the VAE's encoding of one picture, from the store if it has it.

        Args:
            number: position of the picture in the training set.
            mirrored: return the encoding of the mirrored picture.

        Returns:
            "mean" and "std", float32 [C, h, w]; with a mask also "mask", float32 [1, h, w].

        Raises:
            DataError: the picture file changed since it was checked, or the VAE returns NaN or
                infinity.
        """
        training_set = self._training_set
        crop = training_set.crops[number]
        key = cache_key(
            kind="latents",
            version=PIXELS_VERSION,
            picture=training_set.digests[number],
            resized=crop.resized,
            bucket=crop.bucket,
            mirrored=mirrored,
            alpha_mask=training_set.pictures[number].subset.alpha_mask,
            vae=self._vae,
            **({"mask": mask} if (mask := training_set.masks[number]) else {}),
        )
        return fetch(self.store, key, lambda: self._compute(number, mirrored))

    def _compute(self, number: int, mirrored: bool) -> Tensors:
        self.encoded += 1
        pixels = pixels_of(self._training_set, number, self._training_set.crops[number])
        return self._encoding(pixels, number, mirrored)

    def _drawn(self, plan: BatchPlan, at: int) -> Tensors:
        """Encode a sample that is drawn anew; a worker process may have drawn its pixels."""
        pixels = plan.pixels[at] if plan.pixels else None
        if pixels is None:
            pixels = drawn_pixels(self._training_set, plan, at)
        return self._encoding(pixels, plan.pictures[at], plan.flipped[at])

    @torch.no_grad()
    def _encoding(self, shown: Tensor, number: int, mirrored: bool) -> Tensors:
        pixels = as_the_vae_sees(shown)[None]
        if mirrored:
            pixels = pixels.flip(3)
        # One at a time: in a batch the numbers would depend on the other pictures, by rounding.
        answer = self._encode(pixels[:, :3].contiguous())
        mean, std = (part.detach().to("cpu", torch.float32)[0].clone() for part in answer)
        if not bool(mean.isfinite().all() and std.isfinite().all()):
            raise DataError(
                "the VAE turns this picture into NaN or infinity",
                where=str(self._training_set.pictures[number].path),
                fix='use a VAE that works in half precision, or mixed_precision = "no"',
            )
        if pixels.shape[1] == 3:
            return {"mean": mean, "std": std}
        opacity = (pixels[:, 3:] + 1.0) / 2.0
        mask = interpolate(opacity, size=mean.shape[1:], mode="area")[0]
        return {"mean": mean, "std": std, "mask": mask}


def cache_latents(
    training_set: TrainingSet,
    encode: EncodePosterior,
    *,
    store: TensorStore | None = None,
    vae: str = "",
    progress: Callable[[int], object] | None = None,
) -> LatentCache:
    """Encode every picture, with flip_aug also its mirror image, before the first step.

    Pictures that are drawn anew each time are left out.

    Args:
        training_set: pictures, and how each is cropped.
        encode: the frozen VAE.
        store: keeps the encodings; None: in memory. Those that it has are not computed again.
        vae: hash of the VAE's weights, needed if the store lasts longer than the run.
        progress: called with the number of pictures done since the last call.

    Raises:
        DataError: a picture file changed since it was checked, or the VAE returns NaN or infinity;
            the message names the picture.
    """
    cache = LatentCache(training_set, encode, store or MemoryStore(), vae)
    for number, picture in enumerate(training_set.pictures):
        if not training_set.drawn_anew[number]:
            latents = cache.posterior(number, mirrored=False)["mean"]
            cache.levels[number] = float(latents.mean()), float(latents.std(correction=0))
            if picture.subset.flip_aug:
                cache.posterior(number, mirrored=True)
        if progress is not None:
            progress(1)
    return cache
