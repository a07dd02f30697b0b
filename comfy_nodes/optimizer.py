"""The node that says how it is trained: optimizer, learning rates, schedule, loss."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lycoris_ext.diffusion.config import HUBER_SCHEDULES, LOSS_TYPES
from lycoris_ext.options import Option
from lycoris_ext.training.optimizer_kinds import fallback_optimizer, optimizer_names
from lycoris_ext.training.optimizers import OptimizerConfig
from lycoris_ext.training.schedules import SHAPES

from .host.widgets import Options, Widget, advanced, check, inputs, option, read_options

TYPE = "LYCORIS_OPTIMIZER"

_UNSET = "0: unset."
_EARLY = ("weight_decay", "adam_beta1", "adam_beta2")
"""Options of optimizers that stand before others. ComfyUI keeps a workflow's values by position, so
every option that came or comes later stands at the end."""


def _main() -> tuple[Widget, ...]:
    """The inputs that are always shown."""
    return (
        option("optimizer_type", default=fallback_optimizer(), choices=optimizer_names()),
        option("learning_rate", high=10.0, step=1e-5),
        option("lr_scheduler", choices=tuple(SHAPES)),
        option("lr_warmup_steps", default=0.0, step=0.01),
    )


def _more() -> tuple[Widget, ...]:
    """The inputs that the node shows when it is asked for all of them."""
    of_kinds = list(OptimizerConfig.kind_options())
    return advanced(
        option("unet_lr", unset=-1.0, low=-1.0, high=10.0, step=1e-5, says="-1: unset."),
        option("text_encoder_lr", unset=-1.0, low=-1.0, high=10.0, step=1e-5, says="-1: unset."),
        option("loraplus_lr_ratio", unset=0.0, high=1000.0, says=_UNSET),
        *_of_kinds(known for known in of_kinds if known.name in _EARLY),
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
        *_of_kinds(known for known in of_kinds if known.name not in _EARLY),
    )


def _of_kinds(options: Iterable[Option]) -> Iterable[Widget]:
    """The options that optimizers declare, within the limits that they declare."""
    for known in options:
        if not isinstance(known.default, float):
            yield option(known.name, choices=tuple(known.allowed()))
            continue
        step = min(0.001, known.default / 10) or 0.001
        high = known.high if known.high is not None else 1_000_000
        if known.below is not None and known.below < high:
            high = known.below - step / 10
        low = known.low if known.low is not None else 0.0
        yield option(known.name, low=low, high=high, step=step)


class Optimizer:
    CATEGORY = "LyCORIS"
    DESCRIPTION = "How it is trained: optimizer, learning rates and their schedule, noise and loss."
    RETURN_TYPES = (TYPE,)
    RETURN_NAMES = ("optimizer",)
    OUTPUT_TOOLTIPS = ("For Train.",)
    FUNCTION = "describe"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return inputs(_main(), _more())

    def describe(self, **values: Any) -> tuple[Options]:
        return (check(read_options((*_main(), *_more()), values)),)
