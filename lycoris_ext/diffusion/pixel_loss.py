"""The error of each element of a prediction: one class a loss, with the options that it reads."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lycoris_ext.diffusion.schedule import NoiseSchedule
from lycoris_ext.options import Section, option

HUBER_SCHEDULES = ("snr", "exponential", "constant")


@dataclass(frozen=True, init=False)
class PixelLoss(Section):
    """Base of all."""

    def errors(self, difference: Tensor, timesteps: Tensor, schedule: NoiseSchedule) -> Tensor:
        """The errors, shaped as the difference.

        Args:
            difference: prediction minus target, float32 [B, C, h, w].
            timesteps: int64 [B].
            schedule: gives the signal-to-noise ratios.
        """
        raise TypeError(f"{type(self).__name__} has no formula")


@dataclass(frozen=True, init=False)
class Squared(PixelLoss):
    def errors(self, difference: Tensor, timesteps: Tensor, schedule: NoiseSchedule) -> Tensor:
        return difference.square()


@dataclass(frozen=True, init=False)
class Absolute(PixelLoss):
    def errors(self, difference: Tensor, timesteps: Tensor, schedule: NoiseSchedule) -> Tensor:
        return difference.abs()


@dataclass(frozen=True, init=False)
class SmoothL1(PixelLoss):
    """2 (sqrt(e^2 + c^2) - c), the pseudo-Huber loss of Barron 2017, arXiv:1701.03077: large errors
    count 2 |e|. Thresholds c by timestep: Khrapov et al. 2024, arXiv:2403.16728."""

    huber_schedule: str = option(
        "snr",
        "How the threshold of the losses huber and smooth_l1, below which errors count squared, "
        "changes with the timestep: snr and exponential fall from 1 without noise to huber_c at "
        "full noise; constant keeps huber_c.",
        choices=HUBER_SCHEDULES,
    )
    huber_c: float = option(
        0.1,
        "Threshold between squared and absolute errors of the losses huber and smooth_l1 at full "
        "noise; with huber_schedule = constant at every timestep.",
        above=0,
    )
    huber_scale: float = option(
        1.0,
        "Multiply the threshold of the losses huber and smooth_l1 by this number, where "
        "huber_schedule is exponential or constant.",
        above=0,
    )

    def errors(self, difference: Tensor, timesteps: Tensor, schedule: NoiseSchedule) -> Tensor:
        c = self.threshold(timesteps, schedule).view(-1, 1, 1, 1)
        return 2.0 * ((difference.square() + c.square()).sqrt() - c)

    def threshold(self, timesteps: Tensor, schedule: NoiseSchedule) -> Tensor:
        """Where the errors turn from squared to absolute; float32 [B]."""
        if self.huber_schedule == "constant":
            return torch.full_like(timesteps, self.huber_c * self.huber_scale, dtype=torch.float32)
        if self.huber_schedule == "exponential":
            return torch.exp(math.log(self.huber_c) / schedule.steps * timesteps) * self.huber_scale
        signal, noise = schedule.mix(timesteps)
        sigma = (noise / signal).view(-1)
        return (1.0 - self.huber_c) / (1.0 + sigma).square() + self.huber_c


@dataclass(frozen=True, init=False)
class Huber(SmoothL1):
    """smooth_l1 times c, so that small errors count e^2, whatever c is."""

    def errors(self, difference: Tensor, timesteps: Tensor, schedule: NoiseSchedule) -> Tensor:
        c = self.threshold(timesteps, schedule).view(-1, 1, 1, 1)
        return super().errors(difference, timesteps, schedule) * c


PIXEL_LOSSES: dict[str, type[PixelLoss]] = {
    "l2": Squared,
    "l1": Absolute,
    "huber": Huber,
    "smooth_l1": SmoothL1,
}
