"""The node that says how it is trained: optimizer, learning rates, schedule, loss."""

from __future__ import annotations

from typing import Any

from lycoris_ext.diffusion.config import HUBER_SCHEDULES, LOSS_TYPES
from lycoris_ext.training.optimizers import OPTIMIZERS
from lycoris_ext.training.schedules import SHAPES

from .host.widgets import Options, advanced, check, inputs, option, read_options

TYPE = "LYCORIS_OPTIMIZER"

_UNSET = "0: unset."
_MAIN = (
    option("optimizer_type", default="AdamW", choices=OPTIMIZERS),
    option("learning_rate", high=10.0, step=1e-5),
    option("lr_scheduler", choices=tuple(SHAPES)),
    option("lr_warmup_steps", default=0.0, step=0.01),
)
_MORE = advanced(
    option("unet_lr", unset=-1.0, low=-1.0, high=10.0, step=1e-5, says="-1: unset."),
    option("text_encoder_lr", unset=-1.0, low=-1.0, high=10.0, step=1e-5, says="-1: unset."),
    option("loraplus_lr_ratio", unset=0.0, high=1000.0, says=_UNSET),
    option("weight_decay", high=10.0, step=0.001),
    option("adam_beta1", high=0.9999, step=0.001),
    option("adam_beta2", high=0.9999, step=0.001),
    option("max_grad_norm", high=1000.0),
    option("scale_weight_norms", unset=0.0, high=1000.0, says=_UNSET),
    option("ema_decay", high=0.9999, step=0.001),
    option("lr_scheduler_num_cycles", low=1, high=1000),
    option("lr_scheduler_power", low=0.01, high=10.0),
    option("lr_scheduler_min_lr_ratio", unset=0.0, high=1.0, says=_UNSET),
    option("lr_decay_steps", default=0.0),
    option("loss_type", choices=LOSS_TYPES),
    option("huber_schedule", choices=HUBER_SCHEDULES),
    option("huber_c", low=0.0001, high=100.0),
    option("min_snr_gamma", unset=0.0, high=100.0, says=_UNSET),
    option("debiased_estimation_loss"),
    option("noise_offset", high=1.0),
    option("multires_noise_iterations", high=20),
    option("ip_noise_gamma", high=1.0),
    option("min_timestep", unset=0, high=999, says=_UNSET),
    option("max_timestep", unset=1000, low=1, high=1000, says="1000: all."),
    option("prior_loss_weight", high=100.0),
)


class Optimizer:
    CATEGORY = "LyCORIS"
    DESCRIPTION = "How it is trained: optimizer, learning rates and their schedule, noise and loss."
    RETURN_TYPES = (TYPE,)
    RETURN_NAMES = ("optimizer",)
    OUTPUT_TOOLTIPS = ("For Train.",)
    FUNCTION = "describe"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return inputs(_MAIN, _MORE)

    def describe(self, **values: Any) -> tuple[Options]:
        return (check(read_options((*_MAIN, *_MORE), values)),)
