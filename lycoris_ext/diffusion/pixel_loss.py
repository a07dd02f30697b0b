"""Losses element by element, before weights and mean: one class for each value of loss_type."""

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
    """Base class of the losses; a subclass declares the options that its formula reads."""

    def errors(self, difference: Tensor, timesteps: Tensor, schedule: NoiseSchedule) -> Tensor:
        """Return the error of each element of a prediction, float32 [B, C, h, w].

        Args:
            difference: prediction minus target, float32 [B, C, h, w].
            timesteps: int64 [B].
            schedule: gives the signal-to-noise ratios.
        """
        raise TypeError(f"{type(self).__name__} has no formula")


@dataclass(frozen=True, init=False)
class Squared(PixelLoss):
    """e^2, for a difference e between prediction and target."""

    def errors(self, difference: Tensor, timesteps: Tensor, schedule: NoiseSchedule) -> Tensor:
        return difference.square()


@dataclass(frozen=True, init=False)
class Absolute(PixelLoss):
    """|e|, for a difference e between prediction and target."""

    def errors(self, difference: Tensor, timesteps: Tensor, schedule: NoiseSchedule) -> Tensor:
        return difference.abs()


@dataclass(frozen=True, init=False)
class SmoothL1(PixelLoss):
    """The pseudo-Huber loss 2 (sqrt(e^2 + c^2) - c) of a difference e with a threshold c.

    Differences far above c count 2 |e|, those far below it e^2 / c. Sources: Barron 2017,
    arXiv:1701.03077; a threshold that depends on the timestep: Khrapov et al. 2024,
    arXiv:2403.16728.
    """

    huber_schedule: str = option(
        "snr",
        "How the threshold of the losses huber and smooth_l1 changes with the timestep (errors "
        "below it count squared, errors above it absolute): snr and exponential fall from 1 at no "
        "noise to huber_c at full noise; constant keeps huber_c.",
        choices=HUBER_SCHEDULES,
    )
    huber_c: float = option(
        0.1,
        "Threshold of the losses huber and smooth_l1 at full noise, or at every timestep where "
        "huber_schedule is constant: errors below it count squared, errors above it absolute.",
        above=0,
    )
    huber_scale: float = option(
        1.0,
        "Multiply the threshold of the losses huber and smooth_l1 by this number. It has no effect "
        "if huber_schedule is snr, its default.",
        above=0,
    )

    def errors(self, difference: Tensor, timesteps: Tensor, schedule: NoiseSchedule) -> Tensor:
        c = self.threshold(timesteps, schedule).view(-1, 1, 1, 1)
        return 2.0 * ((difference.square() + c.square()).sqrt() - c)

    def threshold(self, timesteps: Tensor, schedule: NoiseSchedule) -> Tensor:
        """Return the threshold c of each sample, below which errors count squared; float32 [B].

        Args:
            timesteps: int64 [B].
            schedule: gives the shares of signal and noise.
        """
        if self.huber_schedule == "constant":
            return torch.full_like(timesteps, self.huber_c * self.huber_scale, dtype=torch.float32)
        if self.huber_schedule == "exponential":
            return torch.exp(math.log(self.huber_c) / schedule.steps * timesteps) * self.huber_scale
        signal, noise = schedule.mix(timesteps)
        sigma = (noise / signal).view(-1)
        return (1.0 - self.huber_c) / (1.0 + sigma).square() + self.huber_c


@dataclass(frozen=True, init=False)
class Huber(SmoothL1):
    """The smooth_l1 loss times its threshold c, so that small differences count e^2 for any c."""

    def errors(self, difference: Tensor, timesteps: Tensor, schedule: NoiseSchedule) -> Tensor:
        c = self.threshold(timesteps, schedule).view(-1, 1, 1, 1)
        return super().errors(difference, timesteps, schedule) * c


PIXEL_LOSSES: dict[str, type[PixelLoss]] = {
    "l2": Squared,
    "l1": Absolute,
    "huber": Huber,
    "smooth_l1": SmoothL1,
}
