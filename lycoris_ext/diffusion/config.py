"""Options of the noise and of the loss, under sd-scripts' names."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lycoris_ext.errors import ConfigError

LOSS_TYPES = ("l2", "l1", "huber", "smooth_l1")
HUBER_SCHEDULES = ("snr", "exponential", "constant")


@dataclass(frozen=True)
class LossConfig:
    """Which noise is added, what the model is asked for, and how its error is weighed.

    Args:
        zero_terminal_snr: bend the noise schedule so that its last timestep is noise alone; for
            bases that were trained so, which predict velocity.
        loss_type: "l2" (squared), "l1" (absolute), or "huber" and "smooth_l1" (squared up to a
            threshold, absolute beyond it, so that outliers count less).
        huber_schedule: how the threshold follows the timestep: "snr", "exponential", "constant".
        huber_c: the threshold where there is most noise; with "constant" everywhere.
        huber_scale: the threshold of "exponential" and "constant" is multiplied by it.
        min_snr_gamma: weigh each timestep by min(SNR, gamma) / SNR; 5 is usual; unset: all alike.
        scale_v_pred_loss_like_noise_pred: weigh the timesteps of a velocity model as a noise model
            weighs them.
        v_pred_like_loss: add so much of the loss that a velocity model would have; for noise
            models.
        debiased_estimation_loss: weigh each timestep by 1 / root of SNR, and velocity by
            1 / (SNR + 1).
        prior_loss_weight: weight of the regularization pictures.
        noise_offset: shift each channel's noise by so much times a normal number, which lets the
            model learn very dark and very bright pictures; 0.05 to 0.1 is usual.
        noise_offset_random_strength: draw the offset's strength from 0 to noise_offset.
        adaptive_noise_scale: add so much of each channel's mean in the latents to noise_offset.
        multires_noise_iterations: add noise of so many coarser resolutions; 6 to 10 is usual.
        multires_noise_discount: each coarser one is so much weaker than the one before.
        ip_noise_gamma: noise the latents by so much more than the model is told, which makes it
            robust to its own mistakes; 0.1 is usual.
        ip_noise_gamma_random_strength: draw that strength from 0 to ip_noise_gamma.
        min_timestep: lowest timestep trained (unset: 0).
        max_timestep: timesteps below this one are trained (unset: all).
    """

    zero_terminal_snr: bool = False
    loss_type: str = "l2"
    huber_schedule: str = "snr"
    huber_c: float = 0.1
    huber_scale: float = 1.0
    min_snr_gamma: float | None = None
    scale_v_pred_loss_like_noise_pred: bool = False
    v_pred_like_loss: float = 0.0
    debiased_estimation_loss: bool = False
    prior_loss_weight: float = 1.0
    noise_offset: float = 0.0
    noise_offset_random_strength: bool = False
    adaptive_noise_scale: float = 0.0
    multires_noise_iterations: int = 0
    multires_noise_discount: float = 0.3
    ip_noise_gamma: float = 0.0
    ip_noise_gamma_random_strength: bool = False
    min_timestep: int | None = None
    max_timestep: int | None = None

    def __post_init__(self) -> None:
        for name, known in (("loss_type", LOSS_TYPES), ("huber_schedule", HUBER_SCHEDULES)):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"{name} {getattr(self, name)!r} is not supported",
                    where=name,
                    fix="use one of " + ", ".join(known),
                )
        for name in ("huber_c", "huber_scale"):
            self._require(name, 0.0 < getattr(self, name) < math.inf, "a number above 0")
        if self.min_snr_gamma is not None:
            self._require("min_snr_gamma", self.min_snr_gamma > 0, "a number above 0; 5 is usual")
        for name in (
            "v_pred_like_loss",
            "prior_loss_weight",
            "noise_offset",
            "multires_noise_iterations",
            "ip_noise_gamma",
        ):
            self._require(name, 0 <= getattr(self, name) < math.inf, "0 or more")
        discount = self.multires_noise_discount
        self._require("multires_noise_discount", 0.0 < discount <= 1.0, "a share above 0, up to 1")
        self._refuse_idle_options()

    def _refuse_idle_options(self) -> None:
        """An option that does nothing without another one is a mistake of the user's."""
        for name, needed in (
            ("noise_offset_random_strength", "noise_offset"),
            ("adaptive_noise_scale", "noise_offset"),
            ("ip_noise_gamma_random_strength", "ip_noise_gamma"),
        ):
            if getattr(self, name) and not getattr(self, needed):
                raise ConfigError(
                    f"{name} is {getattr(self, name)}, but {needed} is 0",
                    where=name,
                    fix=f"set {needed} above 0, or remove {name}",
                )
        if self.scale_v_pred_loss_like_noise_pred and self.v_pred_like_loss:
            raise ConfigError(
                "scale_v_pred_loss_like_noise_pred is for velocity models and v_pred_like_loss for "
                "noise models",
                where="v_pred_like_loss",
                fix="remove one of them",
            )

    def _require(self, name: str, good: bool, expected: str) -> None:
        if not good:
            raise ConfigError(
                f"{name} is {getattr(self, name)}, expected {expected}",
                where=name,
                fix=f"change {name}, or leave it out",
            )

    def timestep_range(self, steps: int) -> tuple[int, int]:
        """First timestep and the one after the last, for a schedule of so many.

        Raises:
            ConfigError: no timestep of the schedule is left.
        """
        low = max(self.min_timestep or 0, 0)
        high = steps if self.max_timestep is None else min(self.max_timestep, steps)
        if low >= high:
            raise ConfigError(
                f"no timestep lies between min_timestep {low} and max_timestep {high}",
                where="min_timestep",
                fix=f"choose 0 <= min_timestep < max_timestep <= {steps}",
            )
        return low, high
