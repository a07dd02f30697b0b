"""The loss of a batch from its plan, whoever holds the base model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lycoris_ext.data import BatchPlan, LatentCache
from lycoris_ext.diffusion import NoiseSchedule, draw_noise
from lycoris_ext.network import Network
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.precision import autocast
from lycoris_ext.training.step import Denoiser, Text, denoising_loss, seed_dropouts


def batch_loss(
    config: TrainConfig,
    network: Network,
    plan: BatchPlan,
    latents: LatentCache,
    schedule: NoiseSchedule,
    device: torch.device,
    encode: Callable[[Sequence[str]], Text],
    denoiser: Denoiser[Text],
) -> Tensor:
    """Draw a batch's latents and noise, encode its captions, and compare.

    Args:
        config: of the run.
        network: injected into the base.
        plan: the batch.
        latents: of the whole training set.
        schedule: as the run trains on it.
        device: of the base.
        encode: captions to what the denoiser takes; with gradients where a text encoder is adapted.
        denoiser: the frozen base.

    Returns:
        A float32 scalar with gradients to the adapter; the same for the same (seed, batch).
    """
    seed = config.run.seed
    pictures = latents.batch(plan, seed)
    draws = draw_noise(
        pictures.latents,
        plan.sample_ids,
        schedule,
        config.loss,
        seed=seed,
        batch_number=plan.number,
    )

    def denoise(noisy: Tensor, timesteps: Tensor, text: Text) -> Tensor:
        network.set_timesteps(timesteps)
        return denoiser(noisy, timesteps, text)

    seed_dropouts(seed, plan.number)
    with autocast(config.run.mixed_precision, device):
        return denoising_loss(
            denoise,
            pictures.latents.to(device),
            encode(plan.captions),
            draws,
            schedule,
            config.loss,
            is_reg=torch.as_tensor(plan.is_reg),
            mask=pictures.mask,
        )
