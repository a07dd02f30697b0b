"""The denoising loss and its weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lycoris_ext.diffusion.schedule import NoiseSchedule
from lycoris_ext.errors import ConfigError


@dataclass(frozen=True)
class LossConfig:
    """How the error of the prediction is weighed.

    Args:
        min_snr_gamma: weigh each timestep by min(SNR, gamma) / SNR; 5 is usual; unset: all alike.
        noise_offset: shift each channel's noise by so much times a normal number, which lets the
            model learn very dark and very bright pictures; 0.05 to 0.1 is usual.
        min_timestep: lowest timestep trained (unset: 0).
        max_timestep: timesteps below this one are trained (unset: all).
    """

    min_snr_gamma: float | None = None
    noise_offset: float = 0.0
    min_timestep: int | None = None
    max_timestep: int | None = None

    def __post_init__(self) -> None:
        if self.min_snr_gamma is not None and self.min_snr_gamma <= 0:
            raise ConfigError(
                f"min_snr_gamma is {self.min_snr_gamma}, expected a number above 0",
                where="min_snr_gamma",
                fix="use 5, or leave it out",
            )
        if self.noise_offset < 0:
            raise ConfigError(
                f"noise_offset is {self.noise_offset}, expected 0 or more",
                where="noise_offset",
                fix="use 0 to 0.1",
            )

    def timestep_range(self, steps: int) -> tuple[int, int]:
        """First timestep and the one after the last, for a schedule of so many."""
        low = max(self.min_timestep or 0, 0)
        high = steps if self.max_timestep is None else min(self.max_timestep, steps)
        return low, high


def weighted_loss(
    prediction: Tensor,
    target: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    loss: LossConfig,
    mask: Tensor | None = None,
) -> Tensor:
    """Mean squared error in float32, weighed per sample and averaged over the batch.

    Args:
        prediction, target: [B, C, h, w].
        timesteps: int64 [B].
        schedule: gives the signal-to-noise ratios.
        loss: the weighting.
        mask: [B, 1, h, w], weight of each place (unset: all 1); the mean is over all places, as in
            sd-scripts, so that what is left out lowers the loss.

    Returns:
        A float32 scalar.

    Source of the weights: Hang et al. 2023, arXiv:2303.09556, section 3.4.
    """
    error = torch.nn.functional.mse_loss(prediction.float(), target.float(), reduction="none")
    if mask is not None:
        error = error * mask
    per_sample = error.mean(dim=(1, 2, 3))
    if loss.min_snr_gamma is not None:
        kept = schedule.at(timesteps).view(-1)
        snr = kept / (1.0 - kept)
        weight = snr.clamp(max=loss.min_snr_gamma) / snr
        if schedule.prediction_type == "v_prediction":
            weight = weight * snr / (snr + 1.0)
        per_sample = per_sample * weight
    return per_sample.mean()
