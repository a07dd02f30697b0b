"""The options of the optimizer, building it, and switching it between training and saving."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.network.sd_scripts_names import RATIOS
from lycoris_ext.options import Option, Section, option
from lycoris_ext.training.optimizer_kind import has_modes
from lycoris_ext.training.optimizer_kinds import (
    DEFAULT_OPTIMIZER,
    OptimizerKind,
    as_known,
    optimizer_kind,
    optimizer_names,
    optimizer_options,
)

_RATE = {
    "low": 0.0,
    "high": 10.0,
    "step": 1e-5,
    "fix": "2e-4 is the usual rate for LoHa, 1e-4 for LoRA",
}
_RATIO = {"above": 0.0, "fix": "16 is usual; remove it for the same rate everywhere"}


def _one_if_all_are_equal(rates: Any) -> Any:
    """Return the rate that all text encoders have, as sd-scripts writes it once for each."""
    is_list = isinstance(rates, (list, tuple)) and len(rates) > 0
    return rates[0] if is_list and all(rate == rates[0] for rate in rates) else rates


@dataclass(frozen=True, init=False)
class OptimizerConfig(Section):
    """The optimizer and the learning rates."""

    optimizer_type: str = option(
        DEFAULT_OPTIMIZER,
        "The optimizer, under the name that sd-scripts has for it: how gradients change the "
        "adapter's weights. The dotted path of a class, such as torch.optim.RAdam, chooses any "
        "other one that is installed.",
        choices=optimizer_names,
        is_class=True,
        read=as_known,
    )
    optimizer_args: tuple[str, ...] = option(
        (),
        'What the class of the optimizer takes besides the options here, as "name=value", such as '
        '"d_coef=2" for Prodigy or "betas=0.9,0.99" for Lion.',
    )
    learning_rate: float = option(
        2e-4,
        "Learning rate: how far each step changes the adapter's weights. unet_lr and "
        "text_encoder_lr replace it for the U-Net and for the text encoder.",
        **_RATE,
    )
    unet_lr: float | None = option(
        None,
        "Learning rate of the U-Net's adapter; 0: the U-Net is not trained.",
        unset="as learning_rate",
        **_RATE,
    )
    text_encoder_lr: float | tuple[float, ...] | None = option(
        None,
        "Learning rate of the text encoder's adapter; 0: the text encoder is not trained. A list "
        "has a rate for each text encoder of SDXL, or one for both.",
        unset="as learning_rate",
        read=_one_if_all_are_equal,
        **_RATE,
    )
    stop_text_encoder_training: float | None = option(
        None,
        "Number of steps after which the text encoder's adapter stays as it is; a number below 1 "
        "is a share of all steps. 0: the text encoder is trained to the end.",
        unset="the text encoder is trained to the end",
        low=0,
    )
    loraplus_lr_ratio: float | None = option(
        None,
        "LoRA+: factors on the output side of the adapter (lora_up, LoHa's hada_w1_a and "
        "hada_w2_a, LoKr's lokr_w2_a) get this many times the learning rate of the remaining "
        "factors; 16 is usual.",
        unset="all factors have the same rate",
        **_RATIO,
    )
    loraplus_unet_lr_ratio: float | None = option(
        None,
        "LoRA+ for the U-Net only: factors on the output side of its adapter (such as lora_up) get "
        "this many times the learning rate of the remaining factors.",
        unset="as loraplus_lr_ratio",
        **_RATIO,
    )
    loraplus_text_encoder_lr_ratio: float | None = option(
        None,
        "LoRA+ for the text encoder only: factors on the output side of its adapter (such as "
        "lora_up) get this many times the learning rate of the remaining factors.",
        unset="as loraplus_lr_ratio",
        **_RATIO,
    )
    max_grad_norm: float = option(
        1.0,
        "Gradient clipping: if the norm of a step's gradient, over all parameters together, is "
        "larger than this, the gradient is scaled down to this norm. 0: no clipping.",
        low=0.0,
    )

    @classmethod
    def kind_options(cls) -> Iterable[Option]:
        return optimizer_options()

    def contradictions(self) -> Iterator[LycorisExtError]:
        if self.effective_unet_lr == 0.0 and not self.trains_text_encoder:
            yield ConfigError(
                "unet_lr and text_encoder_lr are both 0: nothing would be trained",
                where="unet_lr",
                fix="set at least one of them above 0",
            )
        yield from self.unread("optimizer_type")

    @property
    def chosen_kind(self) -> str:
        return self.optimizer_type

    @property
    def kind(self) -> OptimizerKind:
        """The entry of the chosen optimizer."""
        return optimizer_kind(self.optimizer_type)

    @property
    def rates(self) -> dict[str, Any]:
        """The learning rates and LoRA+ ratios, as arguments of ``Network.param_groups``."""
        names = ("learning_rate", "unet_lr", "text_encoder_lr", *RATIOS)
        return {name: getattr(self, name) for name in names}

    @property
    def effective_unet_lr(self) -> float:
        """The U-Net's learning rate: unet_lr, or learning_rate if that is unset."""
        return self.learning_rate if self.unet_lr is None else self.unet_lr

    @property
    def text_encoder_rates(self) -> tuple[float, ...]:
        """The rate of each text encoder, at least one: text_encoder_lr, or learning_rate."""
        rates = self.learning_rate if self.text_encoder_lr is None else self.text_encoder_lr
        return (rates,) if isinstance(rates, (int, float)) else rates or (self.learning_rate,)

    @property
    def trains_text_encoder(self) -> bool:
        """Whether a text encoder's learning rate is above 0."""
        return any(self.text_encoder_rates)


def several_rates(name: str, rates: Mapping[str, float]) -> ConfigError:
    """Return the error that says that an optimizer takes one rate, and that there are several.

    Args:
        name: of the optimizer.
        rates: what is trained -> its learning rate.
    """
    listed = ", ".join(f"{what} {rate:g}" for what, rate in rates.items())
    return ConfigError(
        f"{name} takes one learning rate for all that is trained, and there are several: {listed}",
        where="optimizer_type",
        fix="set learning_rate alone: remove unet_lr, text_encoder_lr, the loraplus ratios and the "
        "rates of network.overrides; or use ProdigyPlusScheduleFree, which finds a rate for each "
        "group",
    )


def build_optimizer(
    param_groups: Iterable[Mapping[str, Any]], config: OptimizerConfig
) -> torch.optim.Optimizer:
    """Build the optimizer; each of its groups gets a "base_lr", its rate before any schedule.

    Args:
        param_groups: dicts with "params", "lr" and "name", from ``Network.param_groups``.
        config: type and settings.

    Raises:
        ConfigError: there is no parameter to train, or the groups have different learning rates
            and the optimizer supports only one.
        EnvironmentFault: the optimizer's package cannot be imported.
    """
    groups = [{**group, "params": list(group["params"])} for group in param_groups]
    groups = [{**group, "base_lr": float(group["lr"])} for group in groups if group["params"]]
    if not groups:
        raise ConfigError(
            "the network has no parameter to train",
            where="network",
            fix="check preset, include, exclude and the learning rates",
        )
    if config.kind.one_rate and len({group["base_lr"] for group in groups}) > 1:
        rates = {str(group["name"]): float(group["base_lr"]) for group in groups}
        raise several_rates(config.optimizer_type, rates)
    return config.kind.build(groups, config.learning_rate, config.values())


def try_optimizer(config: OptimizerConfig) -> None:
    """Build the optimizer for a single number, so that a missing package shows early.

    Raises:
        ConfigError: the optimizer does not take optimizer_args, or the dotted path is wrong.
        EnvironmentFault: the optimizer's package cannot be imported.
    """
    probe = nn.Parameter(torch.zeros(1))
    build_optimizer([{"params": [probe], "lr": config.learning_rate, "name": "probe"}], config)


@contextmanager
def training_paused(network: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Make a network ready for drawing or saving inside a ``with``; training is not affected.

    Inside, the network is in eval mode. If the optimizer has modes, its ``eval()`` gives the
    network the weights to draw with and to save. Its ``train()`` would compute the trained weights
    again, with other rounding, so they are copied before and put back: how often a run draws and
    saves must not change its result. Save the state of a run outside of the ``with``.

    Args:
        network: the adapter.
        optimizer: of its parameters.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    switches = has_modes(optimizer)
    kept = [p.detach().clone() for p in parameters] if switches else []
    trains = network.training
    network.eval()
    try:
        if switches:
            optimizer.eval()  # type: ignore[attr-defined]
        yield
    finally:
        if switches:
            optimizer.train()  # type: ignore[attr-defined]
            with torch.no_grad():
                for parameter, value in zip(parameters, kept, strict=True):
                    parameter.copy_(value)
        network.train(trains)


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Return how many bytes the optimizer's state takes at present."""
    tensors = {id(found): found for found in _tensors(list(optimizer.state.values()))}
    return sum(found.numel() * found.element_size() for found in tensors.values())


def _tensors(value: object) -> Iterator[Tensor]:
    """Yield the tensors in a value; one that several parameters share comes several times."""
    if isinstance(value, Tensor):
        yield value
    items = value.values() if isinstance(value, Mapping) else value
    for item in items if isinstance(value, (Mapping, list, tuple)) else ():  # type: ignore[attr-defined]
        yield from _tensors(item)
