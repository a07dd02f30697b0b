"""Latents of all pictures, computed once by the frozen VAE and kept in memory or in files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from lycoris_ext.data.dataset import BatchPlan, TrainingSet
from lycoris_ext.data.pictures import open_picture, picture_to_tensor
from lycoris_ext.data.randomness import torch_generator
from lycoris_ext.data.store import MemoryStore, Tensors, TensorStore, cache_key, fetch
from lycoris_ext.errors import DataError

EncodePosterior = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Pixels [B, 3, H, W] in [-1, 1] -> mean and standard deviation [B, C, h, w] of the scaled latents.
"""

PIXELS_VERSION = 1
"""Part of every key: raise it when the same file is decoded, scaled or cut in another way."""


@dataclass(frozen=True)
class PictureBatch:
    """The pictures of a batch, on the CPU.

    Args:
        latents: float32 [B, C, h, w].
        mask: float32 [B, 1, h, w] in [0, 1], the weight of each place in the loss; None: all 1.
    """

    latents: Tensor
    mask: Tensor | None


class LatentCache:
    """Latents of a training set; sampling them is a function of (seed, batch number, sample id).

    Args:
        training_set: pictures and where each is cut.
        encode: the frozen VAE.
        store: where its answers are kept; they are computed anew where it has lost them.
        vae: what tells this VAE from all others, in a store that outlives the run.
    """

    def __init__(
        self, training_set: TrainingSet, encode: EncodePosterior, store: TensorStore, vae: str
    ) -> None:
        self._training_set = training_set
        self._encode = encode
        self._store = store
        self._vae = vae
        self.encoded = 0
        """How often the VAE was needed so far."""

    def batch(self, plan: BatchPlan, seed: int) -> PictureBatch:
        """Draw the latents of a batch from what the VAE answered."""
        drawn, masks = [], []
        for number, flipped, sample_id in zip(
            plan.pictures, plan.flipped, plan.sample_ids, strict=True
        ):
            kept = self.posterior(number, mirrored=flipped)
            generator = torch_generator(seed, "latent", plan.number, sample_id)
            noise = torch.randn(kept["mean"].shape, generator=generator)
            drawn.append(kept["mean"] + kept["std"] * noise)
            masks.append(kept.get("mask"))
        latents = torch.stack(drawn)
        if all(mask is None for mask in masks):
            return PictureBatch(latents, None)
        # Pictures of another subset may count everywhere.
        whole = torch.ones(1, *latents.shape[2:])
        return PictureBatch(latents, torch.stack([whole if m is None else m for m in masks]))

    def posterior(self, number: int, *, mirrored: bool) -> Tensors:
        """The VAE's answer for one picture, from the store where it is there.

        Returns:
            "mean" and "std", float32 [C, h, w]; "mask", float32 [1, h, w], where alpha_mask is set.

        Raises:
            DataError: the picture changed since it was checked, or the VAE answers NaN or infinity.
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
        )
        return fetch(self._store, key, lambda: self._compute(number, mirrored))

    @torch.no_grad()
    def _compute(self, number: int, mirrored: bool) -> Tensors:
        self.encoded += 1
        training_set = self._training_set
        file = training_set.pictures[number]
        picture = open_picture(
            file.path, alpha_mask=file.subset.alpha_mask, digest=training_set.digests[number]
        )
        pixels = picture_to_tensor(picture, training_set.crops[number])[None]
        if mirrored:
            pixels = pixels.flip(3)
        # One at a time: what a picture is encoded to must not depend on its neighbours.
        answer = self._encode(pixels[:, :3].contiguous())
        mean, std = (part.detach().to("cpu", torch.float32)[0].clone() for part in answer)
        if not bool(mean.isfinite().all() and std.isfinite().all()):
            raise DataError(
                "the VAE turns this picture into NaN or infinity",
                where=str(file.path),
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
    """Encode every picture, and its mirror image where flip_aug asks for it.

    Args:
        training_set: pictures and where each is cut.
        encode: the frozen VAE.
        store: where the latents are kept (unset: in memory); what it has already is not computed.
        vae: hash of the VAE's weights, for a store that outlives the run.
        progress: called with the number of pictures done since the last call.

    Raises:
        DataError: as LatentCache.posterior; the message names the picture.
    """
    cache = LatentCache(training_set, encode, store or MemoryStore(), vae)
    for number, picture in enumerate(training_set.pictures):
        cache.posterior(number, mirrored=False)
        if picture.subset.flip_aug:
            cache.posterior(number, mirrored=True)
        if progress is not None:
            progress(1)
    return cache
