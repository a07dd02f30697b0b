"""The noise schedule, how noise is added by it, and what the model is to predict."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lycoris_ext.errors import ConfigError
from lycoris_ext.options import Section

PREDICTION_TYPES = ("epsilon", "v_prediction", "flow")


@dataclass(frozen=True)
class NoiseSchedule:
    """The noise level of each timestep of a base model, and the quantity that the model predicts.

    Args:
        alphas_cumprod: float32 [T], falling from nearly 1 to nearly 0. Noisy latents are
            sqrt(alphas_cumprod) * latents + sqrt(1 - alphas_cumprod) * noise.
        prediction_type: "epsilon" (the model predicts the noise), "v_prediction" (the velocity) or
            "flow" (noise minus latents, a rectified flow). Noisy latents of a flow are (1 - level)
            * latents + level * noise, and alphas_cumprod holds (1 - level)^2.
    """

    alphas_cumprod: Tensor
    prediction_type: str = "epsilon"

    def __post_init__(self) -> None:
        if self.prediction_type not in PREDICTION_TYPES:
            raise ConfigError(
                f"the base model predicts {self.prediction_type!r}, training knows "
                f"{', '.join(PREDICTION_TYPES)}",
                where="prediction_type",
                fix="use a model that predicts noise, velocity or flow",
            )

    @property
    def steps(self) -> int:
        """Number of timesteps T."""
        return int(self.alphas_cumprod.shape[0])

    def at(self, timesteps: Tensor) -> Tensor:
        """Return alphas_cumprod at integer timesteps [B], float32 [B, 1, 1, 1] on their device."""
        table = self.alphas_cumprod.to(timesteps.device, torch.float32)
        return table[timesteps].view(-1, 1, 1, 1)

    def mix(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the factors of latents and noise at timesteps [B], each float32 [B, 1, 1, 1]."""
        kept = self.at(timesteps)
        if self.prediction_type == "flow":
            return kept.sqrt(), 1.0 - kept.sqrt()
        return kept.sqrt(), (1.0 - kept).sqrt()

    def for_loss(self, loss: Section) -> NoiseSchedule:
        """Return the schedule to train on: this one, rescaled if zero_terminal_snr is set.

        Args:
            loss: the options of the loss, a LossConfig.

        Raises:
            ConfigError: an option is for models that predict something else than this one does.
        """
        kind = self.prediction_type
        asked = loss.values()
        velocity, noise = kind == "v_prediction", kind == "epsilon"
        flow_free = kind != "flow"
        for name, fits, needs in (
            ("zero_terminal_snr", velocity, "velocity: at the last timestep there is only noise"),
            ("scale_v_pred_loss_like_noise_pred", velocity, "velocity"),
            ("v_pred_like_loss", noise, "noise"),
            ("min_snr_gamma", flow_free, "noise or velocity"),
            ("debiased_estimation_loss", flow_free, "noise or velocity"),
        ):
            if asked[name] and not fits:
                raise ConfigError(
                    f"{name} is for models that predict {needs}; the base predicts {kind}",
                    where=name,
                    fix=f"remove {name}"
                    + (", or set v_parameterization = true for such a base" if noise else ""),
                )
        alphas = self.alphas_cumprod
        return NoiseSchedule(
            zero_terminal_snr(alphas) if asked["zero_terminal_snr"] else alphas, kind
        )


def zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """Rescale a schedule so that its last timestep is pure noise and its first stays as it is.

    Args:
        alphas_cumprod: float32 [T]; if its last entry is 0 already, it comes back unchanged.

    Returns:
        float32 [T], the last entry 0.

    Source: Lin et al. 2023, arXiv:2305.08891, algorithm 1.
    """
    roots = alphas_cumprod.double().sqrt()
    stretched = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
    return stretched.square().to(alphas_cumprod.dtype)


def add_noise(schedule: NoiseSchedule, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """Return the noisy latents x_t of q(x_t | x_0): latents mixed with noise by their timesteps.

    Args:
        schedule: the base model's.
        latents, noise: float32 [B, C, h, w].
        timesteps: integers [B].

    Returns:
        float32 [B, C, h, w].

    Source: DDPM, Ho et al. 2020, arXiv:2006.11239, eq. 4; flow: Liu et al. 2022, arXiv:2209.03003.
    """
    of_latents, of_noise = schedule.mix(timesteps)
    return of_latents * latents + of_noise * noise


def training_target(
    schedule: NoiseSchedule, latents: Tensor, noise: Tensor, timesteps: Tensor
) -> Tensor:
    """Return what the model should predict from the noisy latents of ``add_noise``.

    Args:
        schedule: the base model's; its prediction_type decides.
        latents, noise: float32 [B, C, h, w], as they were given to add_noise.
        timesteps: integers [B].

    Returns:
        float32 [B, C, h, w]: the noise, the velocity, or noise minus latents.

    Source of the velocity: Salimans & Ho 2022, arXiv:2202.00512, appendix D.
    """
    if schedule.prediction_type == "epsilon":
        return noise
    if schedule.prediction_type == "flow":
        return noise - latents
    of_latents, of_noise = schedule.mix(timesteps)
    return of_latents * noise - of_noise * latents
