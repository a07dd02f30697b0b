"""The node that describes how the adapter is trained: optimizer, learning rates, noise, loss."""

from __future__ import annotations

from typing import Any

from lycoris_ext.diffusion import LossConfig
from lycoris_ext.training.optimizer_kinds import fallback_optimizer
from lycoris_ext.training.optimizers import OptimizerConfig
from lycoris_ext.training.schedules import ScheduleConfig

from .host.widgets import Options, Widget, advanced, check, inputs, option, read_options

TYPE = "LYCORIS_OPTIMIZER"

_MAIN = ("optimizer_type", "learning_rate", "lr_scheduler", "lr_warmup_steps")
#: ComfyUI saves the values of a workflow by position: add new options behind these.
_MORE = (
    "unet_lr", "text_encoder_lr", "loraplus_lr_ratio", "weight_decay", "adam_beta1", "adam_beta2",
    "max_grad_norm", "scale_weight_norms", "ema_decay", "lr_scheduler_num_cycles",
    "lr_scheduler_power", "lr_scheduler_min_lr_ratio", "lr_decay_steps", "loss_type",
    "huber_schedule", "huber_c", "min_snr_gamma", "debiased_estimation_loss", "noise_offset",
    "multires_noise_iterations", "ip_noise_gamma", "min_timestep", "max_timestep",
    "prior_loss_weight",
)  # fmt: skip
#: What stands for "unset" in workflows that were saved with 0.1.0.
_UNSET = {"lr_scheduler_min_lr_ratio": 0.0, "min_timestep": 0, "max_timestep": 1000}


def _widgets() -> tuple[list[Widget], tuple[Widget, ...]]:
    """Return the inputs that are always shown, and the advanced ones.

    The advanced inputs include the options of every registered optimizer, schedule and loss.
    """
    kinds = (
        known.name
        for section in (OptimizerConfig, ScheduleConfig, LossConfig)
        for known in section.kind_options()
    )
    more = dict.fromkeys((*_MORE, *kinds))
    main = [option(name) for name in _MAIN[1:]]
    return (
        [option("optimizer_type", default=fallback_optimizer()), *main],
        advanced(*(option(name, unset=_UNSET.get(name)) for name in more if name not in _MAIN)),
    )


class Optimizer:
    CATEGORY = "LyCORIS"
    DESCRIPTION = (
        "Describes how Train trains: the optimizer, learning rates and their schedule, noise "
        "and loss."
    )
    RETURN_TYPES = (TYPE,)
    RETURN_NAMES = ("optimizer",)
    OUTPUT_TOOLTIPS = ("The options of optimizer, schedule and loss, for Train.",)
    FUNCTION = "describe"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return inputs(*_widgets())

    def describe(self, **values: Any) -> tuple[Options]:
        main, more = _widgets()
        return (check(read_options([*main, *more], values)),)
