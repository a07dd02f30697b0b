"""Noise and timesteps of a batch, drawn sample by sample as a function of (seed, batch, sample).

What an option adds has a generator of its own: switching it on leaves every other number as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lycoris_ext.data.randomness import torch_generator
from lycoris_ext.diffusion.config import LossConfig
from lycoris_ext.diffusion.schedule import NoiseSchedule


@dataclass(frozen=True)
class Draws:
    """The random part of a batch, on the CPU.

    Args:
        noise: float32 [B, C, h, w], what the target is made from: standard normal, changed by
            noise_offset and multires_noise_iterations.
        timesteps: int64 [B].
        input_noise: float32 [B, C, h, w], what the latents are mixed with: the noise, and what
            ip_noise_gamma adds to it.
    """

    noise: Tensor
    timesteps: Tensor
    input_noise: Tensor


def draw_noise(
    latents: Tensor,
    sample_ids: Sequence[int],
    schedule: NoiseSchedule,
    loss: LossConfig,
    *,
    seed: int,
    batch_number: int,
) -> Draws:
    """Draw noise and timesteps for a batch; neither batch size nor device change a sample's share.

    Args:
        latents: of the batch, [B, C, h, w]; adaptive_noise_scale reads their means, all else only
            their shape.
        sample_ids: of the batch, B of them.
        schedule: gives the number of timesteps.
        loss: the kinds of noise and the range of timesteps.
        seed: the run's seed.
        batch_number: counted from 0 over the whole run.

    Raises:
        ConfigError: min_timestep and max_timestep leave no timestep of the schedule.
    """
    low, high = loss.timestep_range(schedule.steps)
    noises, timesteps, inputs = [], [], []
    for sample, sample_id in zip(latents, sample_ids, strict=True):

        def drawn_from(purpose: str, sample_id: int = sample_id) -> torch.Generator:
            return torch_generator(seed, purpose, batch_number, sample_id)

        generator = drawn_from("noise")
        timesteps.append(torch.randint(low, high, (1,), generator=generator))
        noise = torch.randn(sample.shape, generator=generator)
        if loss.noise_offset:
            shift = torch.randn((sample.shape[0], 1, 1), generator=generator)
            noise = noise + _offset_strength(sample, loss, drawn_from("noise offset")) * shift
        if loss.multires_noise_iterations:
            noise = multires_noise(
                noise,
                loss.multires_noise_iterations,
                loss.multires_noise_discount,
                drawn_from("multires noise"),
            )
        noises.append(noise)
        inputs.append(noise)
        if loss.ip_noise_gamma:
            generator = drawn_from("input noise")
            extra = torch.randn(sample.shape, generator=generator)
            strength = loss.ip_noise_gamma
            if loss.ip_noise_gamma_random_strength:
                strength *= float(torch.rand((), generator=generator))
            inputs[-1] = noise + strength * extra
    return Draws(torch.stack(noises), torch.cat(timesteps), torch.stack(inputs))


def _offset_strength(latents: Tensor, loss: LossConfig, generator: torch.Generator) -> Tensor:
    """Strength of the noise offset for the channels of one sample, [C, 1, 1], never negative.

    Source: https://www.crosslabs.org/blog/diffusion-with-offset-noise; the adaptive part is
    sd-scripts'.
    """
    strength = torch.full((latents.shape[0], 1, 1), loss.noise_offset)
    if loss.noise_offset_random_strength:
        strength = strength * torch.rand((), generator=generator)
    if loss.adaptive_noise_scale:
        means = latents.detach().float().cpu().mean(dim=(1, 2), keepdim=True).abs()
        strength = (strength + loss.adaptive_noise_scale * means).clamp(min=0.0)
    return strength


def multires_noise(
    noise: Tensor, iterations: int, discount: float, generator: torch.Generator
) -> Tensor:
    """Add noise of coarser and coarser resolutions, scaled back to unit deviation.

    Each resolution is between half and a quarter of the one before, by a factor drawn anew; the
    first one added is as fine as the noise itself.

    Args:
        noise: [C, h, w].
        iterations: resolutions at most; the first with a side of one element is the last.
        discount: strength of each against the one before.
        generator: of the factors and the noise.

    Source: pyramid noise, https://wandb.ai/johnowhitaker/multires_noise; as sd-scripts draws it,
    but for each sample by itself.
    """
    channels, height, width = noise.shape
    for number in range(iterations):
        ratio = (2.0 + 2.0 * float(torch.rand((), generator=generator))) ** number
        size = (max(1, int(height / ratio)), max(1, int(width / ratio)))
        coarse = torch.randn((1, channels, *size), generator=generator)
        fine = functional.interpolate(coarse, (height, width), mode="bilinear")
        noise = noise + discount**number * fine[0]
        if 1 in size:
            break
    return noise / noise.std()
