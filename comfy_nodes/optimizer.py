"""The nodes that describe how the adapter is trained: optimizer, rates, schedule, noise, loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lycoris_ext.config import all_options
from lycoris_ext.diffusion import LossConfig
from lycoris_ext.options import Option
from lycoris_ext.training.optimizer_kinds import (
    fallback_optimizer,
    optimizer_kind,
    optimizer_kinds,
    optimizer_names,
)
from lycoris_ext.training.optimizers import OptimizerConfig, try_optimizer
from lycoris_ext.training.schedules import ScheduleConfig

from .advanced import Advanced, Values, grouped, joined, more
from .host.widgets import Options, Widget, check, inputs, option, read_options

TYPE = "LYCORIS_OPTIMIZER"
_ADVANCED = "LYCORIS_OPTIMIZER_ADVANCED"
_NAME = "Optimizer"

MAIN = (
    "optimizer_type", "learning_rate", "text_encoder_lr", "lr_scheduler", "lr_warmup_steps",
    "gradient_accumulation_steps",
)  # fmt: skip
_GROUPS = {
    "optimizer": (
        "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "sgd_momentum",
        "rmsprop_alpha", "optimizer_args",
    ),
    "rates": (
        "unet_lr", "loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio",
        "max_grad_norm", "scale_weight_norms", "ema_decay", "stop_text_encoder_training",
    ),
    "schedule": (
        "lr_scheduler_num_cycles", "lr_scheduler_power", "lr_scheduler_min_lr_ratio",
        "lr_decay_steps", "lr_scheduler_timescale", "lr_scheduler_step_rules",
    ),
    "loss": (
        "loss_type", "huber_schedule", "huber_c", "huber_scale",
        "scale_v_pred_loss_like_noise_pred", "v_pred_like_loss",
    ),
    "timesteps": ("min_timestep", "max_timestep", "min_snr_gamma", "debiased_estimation_loss"),
    "noise": (
        "noise_offset", "noise_offset_random_strength", "adaptive_noise_scale",
        "multires_noise_iterations", "multires_noise_discount", "ip_noise_gamma",
        "ip_noise_gamma_random_strength",
    ),
}  # fmt: skip
#: Set by Dataset Pictures, and by the connected model; or for files alone.
_ELSEWHERE = (
    "prior_loss_weight", "zero_terminal_snr", "lr_scheduler_type", "lr_scheduler_args",
    "timestep_distribution", "noising_weight", "noising_bias", "timestep_shift",
)  # fmt: skip
#: What stands for "unset"; workflows of 0.1.0 hold these values.
_UNSET = {
    "lr_scheduler_min_lr_ratio": 0.0,
    "min_timestep": 0,
    "max_timestep": 1000,
    "stop_text_encoder_training": 0,
}


def _known() -> dict[str, Option]:
    sections = (OptimizerConfig, ScheduleConfig, LossConfig)
    known = {name: each for section in sections for name, each in section.options().items()}
    of_the_run = ("scale_weight_norms", "ema_decay", "gradient_accumulation_steps")
    return known | {name: all_options()[name] for name in of_the_run}


def _group_of(new: Option) -> str:
    if new.name in ScheduleConfig.options():
        return "schedule"
    if new.name in LossConfig.options():
        return "loss" if new.kinds else "timesteps"
    return "optimizer"


def _options_of(group: str) -> list[str]:
    return grouped(_GROUPS, _known(), (*MAIN, *_ELSEWHERE), _group_of)[group]


def widget(name: str) -> Widget:
    """Return the widget of an option, with the default and the unset value of these nodes."""
    default = fallback_optimizer() if name == "optimizer_type" else None
    made = option(name, default=default, unset=_UNSET.get(name))
    if name == "optimizer_type":  # those whose packages ComfyUI's Python has
        return replace(made, kind=[kind.name for kind in optimizer_kinds() if kind.is_installed])
    return made


def missing_optimizer(name: str) -> bool | str:
    """Return True if an optimizer can be used here, or what to do to use it, as ComfyUI asks it."""
    if name not in optimizer_names():
        return f"optimizer_type {name!r} is not known"
    kind = optimizer_kind(name)
    return True if kind.is_installed else str(kind.missing(ImportError("it is not installed")))


class Optimizer:
    CATEGORY = "LyCORIS/training"
    DESCRIPTION = (
        "Describes how Train LoRA trains: the optimizer, the learning rates and how they change."
    )
    SEARCH_ALIASES = ("adamw", "learning rate", "scheduler", "train settings")
    RETURN_TYPES = (TYPE,)
    RETURN_NAMES = ("optimizer",)
    OUTPUT_TOOLTIPS = ("How to train, for Train LoRA.",)
    FUNCTION = "describe"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return inputs(tuple(map(widget, MAIN)), (more(_ADVANCED, _NAME),))

    @classmethod
    def VALIDATE_INPUTS(cls, optimizer_type: str | None = None) -> bool | str:
        """Check a saved workflow's optimizer, which may be none of those that are offered here."""
        return optimizer_type is None or missing_optimizer(optimizer_type)

    def describe(self, advanced: Values | None = None, **values: Any) -> tuple[Options]:
        given = joined(advanced, values)
        options = check(read_options([widget(name) for name in given], given))
        known = OptimizerConfig.options()
        chosen = {name: value for name, value in options.items() if name in known}
        try_optimizer(OptimizerConfig(**chosen))  # its package may be missing
        return (options,)


class _More(Advanced):
    TYPE, PLAIN = _ADVANCED, _NAME
    GROUP = ""

    @classmethod
    def widgets(cls) -> Sequence[Widget]:
        return [widget(name) for name in _options_of(cls.GROUP)]


class OptimizerSettings(_More):
    DESCRIPTION = "Weight decay and other settings of the chosen optimizer."
    GROUP = "optimizer"


class OptimizerRates(_More):
    DESCRIPTION = "Learning rates of single parts, LoRA+, and limits of the update."
    GROUP = "rates"


class OptimizerSchedule(_More):
    DESCRIPTION = "How the chosen schedule changes the learning rates."
    GROUP = "schedule"


class OptimizerLoss(_More):
    DESCRIPTION = "How errors of the model are counted, such as Huber loss."
    GROUP = "loss"


class OptimizerTimesteps(_More):
    DESCRIPTION = "Which timesteps are trained, and how much each of them counts (min-SNR)."
    GROUP = "timesteps"


class OptimizerNoise(_More):
    DESCRIPTION = "Changes of the noise: noise offset, multi-resolution noise, input noise."
    GROUP = "noise"
