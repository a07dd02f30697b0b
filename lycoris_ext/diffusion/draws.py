"""Draw the noise and the timesteps of a batch, each sample's from (seed, batch number, sample id).

Each noise option draws from a generator of its own, so that switching it on changes no other random
number of the run.
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
from lycoris_ext.diffusion.timesteps import draw


@dataclass(frozen=True)
class Draws:
    """Noise and timesteps that were drawn for a batch, as tensors on the CPU.

    Args:
        noise: float32 [B, C, h, w], from which the training target is made: standard normal noise,
            changed by noise_offset and multires_noise_iterations.
        timesteps: int64 [B].
        input_noise: float32 [B, C, h, w], with which the latents are mixed: `noise` plus the extra
            noise of ip_noise_gamma.
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
    """Draw noise and timesteps for a batch.

    What a sample gets depends on seed, batch number and sample id alone, not on the batch size, the
    other samples or the device.

    Args:
        latents: [B, C, h, w]; adaptive_noise_scale reads their means, all other options only their
            shape.
        sample_ids: B of them, one for each sample.
        schedule: gives the number of timesteps.
        loss: the options of noise and timesteps.
        seed: the run's seed.
        batch_number: counted from 0 over the whole run.

    Raises:
        ConfigError: the options leave no timestep of the schedule.
    """
    low, high = loss.timestep_range(schedule.steps)
    table = loss.timestep_chances(high - low)
    noises, timesteps, inputs = [], [], []
    for sample, sample_id in zip(latents, sample_ids, strict=True):

        def drawn_from(purpose: str, sample_id: int = sample_id) -> torch.Generator:
            return torch_generator(seed, purpose, batch_number, sample_id)

        generator = drawn_from("noise")
        timesteps.append(torch.randint(low, high, (1,), generator=generator))
        if table is not None:
            timesteps[-1] = low + draw(table, drawn_from("timestep"))
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
    """Return the strength of the noise offset for each channel of one sample, [C, 1, 1], 0 or more.

    Args:
        latents: of the sample, [C, h, w].
        loss: noise_offset, noise_offset_random_strength and adaptive_noise_scale.
        generator: draws the random strength.

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
    """Add layers of coarser and coarser noise, and scale the sum to a standard deviation of 1.

    Layer number n (from 0) is drawn at 1/r**n of the resolution, with an r between 2 and 4 that is
    drawn for each layer, enlarged to [C, h, w] and multiplied by discount**n.

    Args:
        noise: [C, h, w], standard normal.
        iterations: number of layers; a layer with a side of one element is the last.
        discount: strength of each layer relative to the one before.
        generator: draws the factors r and the layers.

    Returns:
        [C, h, w].

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
