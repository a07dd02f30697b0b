"""The noise schedule and what the model is asked to predict."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lycoris_ext.errors import ConfigError
from lycoris_ext.options import Section

PREDICTION_TYPES = ("epsilon", "v_prediction", "flow")


@dataclass(frozen=True)
class NoiseSchedule:
    """How much of the picture is left at each timestep.

    Args:
        alphas_cumprod: float32 [T], falling from nearly 1 to nearly 0; its root scales the latents
            and the root of its complement scales the noise.
        prediction_type: what the model predicts, "epsilon" (the noise), "v_prediction", or "flow"
            (noise minus latents, of a rectified flow). A flow mixes (1 - level) of the latents with
            level of the noise; its alphas_cumprod are (1 - level)^2.
    """

    alphas_cumprod: Tensor
    prediction_type: str = "epsilon"

    def __post_init__(self) -> None:
        if self.prediction_type not in PREDICTION_TYPES:
            raise ConfigError(
                f"the base model predicts {self.prediction_type!r}, training knows "
                f"{' and '.join(PREDICTION_TYPES)}",
                where="prediction_type",
                fix="use a model that predicts noise, velocity or flow",
            )

    @property
    def steps(self) -> int:
        """Number of timesteps T."""
        return int(self.alphas_cumprod.shape[0])

    def at(self, timesteps: Tensor) -> Tensor:
        """alphas_cumprod of integer timesteps [B], as float32 [B, 1, 1, 1] on their device."""
        table = self.alphas_cumprod.to(timesteps.device, torch.float32)
        return table[timesteps].view(-1, 1, 1, 1)

    def mix(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Shares of latents and noise at integer timesteps [B]; float32 [B, 1, 1, 1] each."""
        kept = self.at(timesteps)
        if self.prediction_type == "flow":
            return kept.sqrt(), 1.0 - kept.sqrt()
        return kept.sqrt(), (1.0 - kept).sqrt()

    def for_loss(self, loss: Section) -> NoiseSchedule:
        """The schedule that a run trains on: the base's, with what its options say of the base.

        Args:
            loss: the options of the loss, LossConfig.

        Raises:
            ConfigError: an option is for the other kind of prediction.
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
    """Shift and stretch the roots so that the last is 0 and the first stays.

    Args:
        alphas_cumprod: float32 [T]; one that ends at 0 already comes back unchanged.

    Source: Lin et al. 2023, arXiv:2305.08891, algorithm 1.
    """
    roots = alphas_cumprod.double().sqrt()
    stretched = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
    return stretched.square().to(alphas_cumprod.dtype)


def add_noise(schedule: NoiseSchedule, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """q(x_t | x_0): mix latents and noise for the given timesteps.

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
    """What the model should answer for ``add_noise(...)``: the noise, the velocity, or the flow.

    Shapes as add_noise. Velocity: Salimans & Ho 2022, arXiv:2202.00512, appendix D.
    """
    if schedule.prediction_type == "epsilon":
        return noise
    if schedule.prediction_type == "flow":
        return noise - latents
    kept = schedule.at(timesteps)
    return kept.sqrt() * noise - (1.0 - kept).sqrt() * latents
