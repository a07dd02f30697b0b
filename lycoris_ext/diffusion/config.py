"""Options of the noise and of the loss, under sd-scripts' names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from lycoris_ext.diffusion.pixel_loss import PIXEL_LOSSES, PixelLoss
from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.options import Option, Section, option, options_of


@dataclass(frozen=True, init=False)
class LossConfig(Section):
    """Which noise is added, what the model is asked for, and how its error is weighed."""

    zero_terminal_snr: bool = option(
        False,
        "Bend the noise schedule so that its last timestep is noise alone. For base models that "
        "were trained so and predict velocity.",
    )
    loss_type: str = option(
        "l2",
        "How errors count: l2 squared, l1 absolute, huber and smooth_l1 squared up to a threshold "
        "and absolute beyond it, so that outliers count less.",
        choices=tuple(PIXEL_LOSSES),
    )
    min_snr_gamma: float | None = option(
        None,
        "Weigh each timestep by min(SNR, gamma) / SNR, or by min(SNR, gamma) / (SNR + 1) where the "
        "model predicts velocity (min-SNR weighting); 5 is usual.",
        unset="all timesteps weigh the same",
        above=0,
    )
    scale_v_pred_loss_like_noise_pred: bool = option(
        False,
        "Weigh the timesteps of a model that predicts velocity as a model that predicts noise "
        "weighs them.",
    )
    v_pred_like_loss: float = option(
        0.0,
        "For models that predict noise: add this share of the loss that a model that predicts "
        "velocity would have; 0: none.",
        low=0,
    )
    debiased_estimation_loss: bool = option(
        False,
        "Weigh each timestep by 1 / sqrt(SNR), or by 1 / (SNR + 1) where the model predicts "
        "velocity.",
    )
    prior_loss_weight: float = option(
        1.0, "Weight of the regularisation pictures in the loss.", low=0
    )
    noise_offset: float = option(
        0.0,
        "Shift the noise of each channel by this number times a normal random number, which lets "
        "the model learn very dark and very bright pictures; 0.05 to 0.1 is usual, 0: no shift.",
        low=0,
    )
    noise_offset_random_strength: bool = option(
        False,
        "With noise_offset: draw the strength of the shift from 0 to noise_offset, anew for each "
        "picture.",
    )
    adaptive_noise_scale: float = option(
        0.0,
        "With noise_offset: make the shift of each channel stronger by this number times the "
        "absolute mean of the channel in the latents; a negative number makes it weaker.",
    )
    multires_noise_iterations: int = option(
        0,
        "How many layers of noise are added: the first at full resolution, each further one 2 to 4 "
        "times coarser; 6 to 10 is usual, 0: none.",
        low=0,
    )
    multires_noise_discount: float = option(
        0.3,
        "With multires_noise_iterations: strength of each layer of noise, times that of the finer "
        "one before it.",
        above=0,
        high=1,
    )
    ip_noise_gamma: float = option(
        0.0,
        "Add this share of extra noise to the latents that the model sees, but not to the noise "
        "that it is asked for, which makes it robust to its own mistakes; 0.1 is usual, 0: none.",
        low=0,
    )
    ip_noise_gamma_random_strength: bool = option(
        False,
        "With ip_noise_gamma: draw the share of extra noise from 0 to ip_noise_gamma for each "
        "picture.",
    )
    min_timestep: int | None = option(
        None, "The lowest timestep that is trained.", unset="from 0 on", low=0
    )
    max_timestep: int | None = option(
        None,
        "Timesteps from this one on are not trained.",
        unset="all timesteps of the base model are",
        low=1,
    )

    @classmethod
    def kind_options(cls) -> Iterable[Option]:
        return options_of({name: kind.options().values() for name, kind in PIXEL_LOSSES.items()})

    def contradictions(self) -> Iterator[LycorisExtError]:
        yield from self.unread("loss_type")
        for name, needed in (
            ("noise_offset_random_strength", "noise_offset"),
            ("adaptive_noise_scale", "noise_offset"),
            ("ip_noise_gamma_random_strength", "ip_noise_gamma"),
        ):
            # An option that does nothing without another one is a mistake of the user's.
            if getattr(self, name) and not getattr(self, needed):
                yield ConfigError(
                    f"{name} is {getattr(self, name)}, but {needed} is 0",
                    where=name,
                    fix=f"set {needed} above 0, or remove {name}",
                )
        if self.scale_v_pred_loss_like_noise_pred and self.v_pred_like_loss:
            yield ConfigError(
                "scale_v_pred_loss_like_noise_pred is for velocity models and v_pred_like_loss for "
                "noise models",
                where="v_pred_like_loss",
                fix="remove one of them",
            )

    @property
    def chosen_kind(self) -> str:
        return self.loss_type

    @cached_property
    def pixel_loss(self) -> PixelLoss:
        """The loss that loss_type names, with its options."""
        return PIXEL_LOSSES[self.loss_type].taken_from(self)

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
