"""Options of noise, timesteps and loss, under sd-scripts' names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from lycoris_ext.diffusion.pixel_loss import PIXEL_LOSSES, PixelLoss
from lycoris_ext.diffusion.timesteps import DISTRIBUTIONS, UNIFORM, chances, fault_of
from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.options import Option, Section, option, options_of


@dataclass(frozen=True, init=False)
class LossConfig(Section):
    """Noise and timesteps of training, and how the model's error is measured and weighed."""

    zero_terminal_snr: bool = option(
        False,
        "Rescale the noise schedule so that its last timestep is pure noise (zero terminal SNR). "
        "Only for base models that predict velocity and were trained with such a schedule.",
    )
    loss_type: str = option(
        "l2",
        "How the error of each predicted number counts: l2 squared, l1 absolute; huber and "
        "smooth_l1 squared below a threshold (huber_c) and absolute above it, so that outliers "
        "count less.",
        choices=tuple(PIXEL_LOSSES),
    )
    min_snr_gamma: float | None = option(
        None,
        "Multiply the loss by min(SNR, gamma) / SNR of the timestep, or by min(SNR, gamma) / (SNR "
        "+ 1) where the model predicts velocity (min-SNR weighting); 5 is usual.",
        unset="all timesteps weigh the same",
        above=0,
    )
    scale_v_pred_loss_like_noise_pred: bool = option(
        False,
        "For models that predict velocity: multiply the loss by SNR / (SNR + 1), which gives each "
        "timestep the weight that it has for a model that predicts noise.",
    )
    v_pred_like_loss: float = option(
        0.0,
        "For models that predict noise: also add the loss that a model that predicts velocity "
        "would have, times this number; 0: add nothing.",
        low=0,
    )
    debiased_estimation_loss: bool = option(
        False,
        "Multiply the loss by 1 / sqrt(SNR) of the timestep, or by 1 / (SNR + 1) where the model "
        "predicts velocity (debiased estimation).",
    )
    prior_loss_weight: float = option(
        1.0, "Multiply the loss of regularisation pictures by this number.", low=0
    )
    noise_offset: float = option(
        0.0,
        "Strength of a shift of the noise: one normal random number for each channel of a picture "
        "is multiplied by it and added. It lets the model learn very dark and very bright "
        "pictures; 0.05 to 0.1 is usual, 0: no shift.",
        low=0,
        high=100,
    )
    noise_offset_random_strength: bool = option(
        False,
        "With noise_offset: draw the strength of the shift between 0 and noise_offset, anew for "
        "each picture and step.",
    )
    adaptive_noise_scale: float = option(
        0.0,
        "With noise_offset: raise the strength of a channel's shift by this number times the "
        "absolute value of the channel's mean in the latents; a negative number lowers it, at most "
        "to 0.",
        low=-100,
        high=100,
    )
    multires_noise_iterations: int = option(
        0,
        "Number of layers of coarser and coarser noise that are added to the noise "
        "(multi-resolution or pyramid noise), before the sum is scaled to standard deviation 1. "
        "The first has full resolution; layer n after it is r^n times coarser, with an r drawn "
        "between 2 and 4 for each layer. 6 to 10 is usual, 0: none.",
        low=0,
        high=100,
    )
    multires_noise_discount: float = option(
        0.3,
        "With multires_noise_iterations: the first layer of noise has strength 1, and each coarser "
        "one the strength of the layer before it times this number.",
        above=0,
        high=1,
    )
    ip_noise_gamma: float = option(
        0.0,
        "Strength of extra noise in the latents that the model sees, which is not part of the "
        "noise that it is to predict. It makes the model robust to its own mistakes; 0.1 is usual, "
        "0: none.",
        low=0,
        high=100,
    )
    ip_noise_gamma_random_strength: bool = option(
        False,
        "With ip_noise_gamma: draw the strength of the extra noise between 0 and ip_noise_gamma, "
        "anew for each picture and step.",
    )
    min_timestep: int | None = option(
        None,
        "Train only timesteps from this one on; 0 is the one with the least noise.",
        unset="from 0 on",
        low=0,
    )
    max_timestep: int | None = option(
        None,
        "Train only timesteps below this one; Stable Diffusion has 1000 of them, 0 to 999.",
        unset="up to the last timestep of the base model",
        low=1,
    )
    timestep_distribution: str = option(
        UNIFORM,
        "How often each timestep is trained. uniform: all equally often; logit_normal: the middle "
        "ones more often; heavy_tail: the middle ones more often, the ends not much less, "
        "or with a negative noising_weight the ends more often; cos_map: the middle ones up to "
        "twice as often as the ends; sigmoid: those with more noise more often; "
        "inverted_parabola: those around a centre more often; beta: one end more often.",
        choices=tuple(DISTRIBUTIONS),
    )
    noising_weight: float = option(
        0.0,
        "How far timestep_distribution is from uniform: the steepness of sigmoid (below 0: less "
        "noise more often), inverted_parabola and heavy_tail (-1 to 1.75); logit_normal has the "
        "standard deviation 1 plus this number, and beta has it as its alpha.",
        low=-1000,
        high=1000,
    )
    noising_bias: float = option(
        0.0,
        "Which timesteps timestep_distribution prefers: above 0 those with more noise. It moves "
        "the centre of sigmoid and inverted_parabola by this share of all timesteps; it is the "
        "mean of logit_normal before the sigmoid, and the beta of beta (one of its two numbers "
        "must be 1).",
        low=-100,
        high=100,
    )
    timestep_shift: float = option(
        1.0,
        "Move the drawn timesteps t, as shares of all that are trained, to s t / (1 + (s - 1) t) "
        "for this number s: above 1 towards more noise, below 1 towards less.",
        low=0.001,
        high=1000,
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
            # Setting an option that has no effect is a mistake: the user expected one.
            if getattr(self, name) and not getattr(self, needed):
                yield ConfigError(
                    f"{name} is {getattr(self, name)}, but {needed} is 0",
                    where=name,
                    fix=f"set {needed} above 0, or remove {name}",
                )
        yield from self._faults_of_timesteps()
        if self.max_timestep is not None and (self.min_timestep or 0) >= self.max_timestep:
            yield ConfigError(
                f"no timestep lies between min_timestep {self.min_timestep or 0} and max_timestep "
                f"{self.max_timestep}",
                where="min_timestep",
                fix="choose min_timestep below max_timestep",
            )
        if self.scale_v_pred_loss_like_noise_pred and self.v_pred_like_loss:
            yield ConfigError(
                "scale_v_pred_loss_like_noise_pred is for velocity models and v_pred_like_loss for "
                "noise models",
                where="v_pred_like_loss",
                fix="remove one of them",
            )

    def _faults_of_timesteps(self) -> Iterator[LycorisExtError]:
        name, distribution = self.timestep_distribution, DISTRIBUTIONS[self.timestep_distribution]
        for option_name in ("noising_weight", "noising_bias"):
            if getattr(self, option_name) and option_name not in distribution.reads:
                readers = [each for each, one in DISTRIBUTIONS.items() if option_name in one.reads]
                yield ConfigError(
                    f"{option_name} is {getattr(self, option_name):g}, and timestep_distribution = "
                    f'"{name}" does not read it',
                    where=option_name,
                    fix=f"remove {option_name}, or set timestep_distribution to one of "
                    f"{', '.join(readers)}",
                )
        if fault := fault_of(name, self.noising_weight, self.noising_bias):
            yield ConfigError(fault, where="timestep_distribution", fix="change these numbers")
            return
        try:
            # Stable Diffusion has 1000 timesteps.
            last = min(1000, self.max_timestep or 1000)
            self.timestep_chances(max(1, last - (self.min_timestep or 0)))
        except ConfigError as error:
            yield error

    def timestep_chances(self, steps: int) -> Tensor | None:
        """Return the chance of each timestep, float64 [steps]; None if all have the same.

        Args:
            steps: number of timesteps in the range that is trained.

        Raises:
            ConfigError: no timestep has a chance.
        """
        name, strength = self.timestep_distribution, self.timestep_shift
        if name == UNIFORM and strength == 1.0:
            return None
        return chances(name, steps, self.noising_weight, self.noising_bias, strength)

    @property
    def chosen_kind(self) -> str:
        return self.loss_type

    @cached_property
    def pixel_loss(self) -> PixelLoss:
        """The loss that loss_type names, as an object that holds that loss's own options."""
        return PIXEL_LOSSES[self.loss_type].taken_from(self)

    def timestep_range(self, steps: int) -> tuple[int, int]:
        """Return the range of timesteps that training draws from, as (first, last + 1).

        Args:
            steps: number of timesteps of the noise schedule.

        Raises:
            ConfigError: no timestep of the schedule is left.
        """
        low = self.min_timestep or 0
        high = steps if self.max_timestep is None else min(self.max_timestep, steps)
        if low >= high:
            raise ConfigError(
                f"no timestep lies between min_timestep {low} and max_timestep {high}",
                where="min_timestep",
                fix=f"choose 0 <= min_timestep < max_timestep <= {steps}",
            )
        return low, high
