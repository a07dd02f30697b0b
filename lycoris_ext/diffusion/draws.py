"""Noise and timesteps of a batch, drawn sample by sample as a function of (seed, batch, sample)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lycoris_ext.data.randomness import torch_generator
from lycoris_ext.diffusion.loss import LossConfig
from lycoris_ext.diffusion.schedule import NoiseSchedule
from lycoris_ext.errors import ConfigError


@dataclass(frozen=True)
class Draws:
    """The random part of a batch, on the CPU.

    Args:
        noise: float32 [B, C, h, w], standard normal plus the noise offset.
        timesteps: int64 [B].
    """

    noise: Tensor
    timesteps: Tensor


def draw_noise(
    shape: tuple[int, ...],
    sample_ids: Sequence[int],
    schedule: NoiseSchedule,
    loss: LossConfig,
    *,
    seed: int,
    batch_number: int,
) -> Draws:
    """Draw noise and timesteps for a batch; neither batch size nor device change a sample's share.

    Args:
        shape: of one sample's latents, (C, h, w).
        sample_ids: of the batch, B of them.
        schedule: gives the number of timesteps.
        loss: noise_offset and the range of timesteps.
        seed: the run's seed.
        batch_number: counted from 0 over the whole run.

    Raises:
        ConfigError: min_timestep and max_timestep leave no timestep of the schedule.
    """
    low, high = loss.timestep_range(schedule.steps)
    if low >= high:
        raise ConfigError(
            f"no timestep lies between min_timestep {low} and max_timestep {high}",
            where="min_timestep",
            fix=f"choose 0 <= min_timestep < max_timestep <= {schedule.steps}",
        )
    noises, timesteps = [], []
    for sample_id in sample_ids:
        generator = torch_generator(seed, "noise", batch_number, sample_id)
        timesteps.append(torch.randint(low, high, (1,), generator=generator))
        noise = torch.randn(shape, generator=generator)
        if loss.noise_offset:
            noise = noise + loss.noise_offset * torch.randn((shape[0], 1, 1), generator=generator)
        noises.append(noise)
    return Draws(torch.stack(noises), torch.cat(timesteps))
