"""ComfyUI's models without what it does to their input and output: what training compares."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class RawSampling(nn.Module):
    """ComfyUI's model_sampling that leaves the network's input and answer as they are."""

    def __init__(self, real: Any, levels: Tensor) -> None:
        super().__init__()
        self._told = real.timestep(levels.to(real.sigmas.device)).float().cpu().clone()

    def calculate_input(self, timesteps: Tensor, noisy: Tensor) -> Tensor:
        return noisy

    def timestep(self, timesteps: Tensor) -> Tensor:
        """What the network is told of a timestep of the schedule."""
        return self._told.to(timesteps.device)[timesteps]

    def calculate_denoised(self, timesteps: Tensor, answer: Tensor, noisy: Tensor) -> Tensor:
        return answer


class _Moments(nn.Module):
    """In place of a VAE's regularisation: mean and log-variance, undrawn."""

    def forward(self, moments: Tensor) -> tuple[Tensor, dict[str, Any]]:
        return moments, {}


@contextmanager
def moments(first_stage: Any) -> Iterator[bool]:
    """The VAE answers with its moments inside the ``with``; False where it has none."""
    drawn = getattr(first_stage, "regularization", None)
    if type(drawn).__name__ != "DiagonalGaussianRegularization":
        yield False
        return
    first_stage.regularization = _Moments()
    try:
        yield True
    finally:
        first_stage.regularization = drawn
