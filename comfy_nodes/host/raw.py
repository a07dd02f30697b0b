"""Switch off what ComfyUI does around a network and a VAE, so that training gets raw outputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class RawSampling(nn.Module):
    """A model_sampling for ComfyUI that leaves the network's input and output as they are.

    Args:
        real: the model's own model_sampling.
        levels: (T,), the sigma of each timestep of our noise schedule.
    """

    def __init__(self, real: Any, levels: Tensor) -> None:
        super().__init__()
        self._timesteps = real.timestep(levels.to(real.sigmas.device)).float().cpu().clone()

    def calculate_input(self, timesteps: Tensor, noisy: Tensor) -> Tensor:
        return noisy

    def timestep(self, timesteps: Tensor) -> Tensor:
        """Turn indices into our noise schedule, (B,), into ComfyUI's timestep values, (B,).

        The values are those that the model's own model_sampling gives for the same noise levels.
        """
        return self._timesteps.to(timesteps.device)[timesteps]

    def calculate_denoised(self, timesteps: Tensor, answer: Tensor, noisy: Tensor) -> Tensor:
        return answer


class _Moments(nn.Module):
    """Stands in for a VAE's regularisation and returns mean and log-variance without sampling."""

    def forward(self, moments: Tensor) -> tuple[Tensor, dict[str, Any]]:
        return moments, {}


@contextmanager
def moments(vae: Any) -> Iterator[bool]:
    """Inside the ``with`` a VAE encodes to mean and log-variance instead of sampled latents.

    Args:
        vae: ComfyUI's.

    Yields:
        Whether that works; False for a VAE that encodes without a variance, or that goes on
        computing with what was sampled (Flux.2's, which has a batch norm there).
    """
    from comfy.ldm.models.autoencoder import DiagonalGaussianRegularizer

    first_stage, channels = vae.first_stage_model, vae.latent_channels
    drawn = getattr(first_stage, "regularization", None)
    is_last = getattr(first_stage, "bn", None) is None
    if not isinstance(drawn, DiagonalGaussianRegularizer) or not is_last:
        yield False
        return
    first_stage.regularization = _Moments()
    vae.latent_channels = 2 * channels  # of tiles, in which ComfyUI encodes if memory is short
    try:
        yield True
    finally:
        first_stage.regularization, vae.latent_channels = drawn, channels
