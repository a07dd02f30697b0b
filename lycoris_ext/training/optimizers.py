"""Optimizers of the adapter's parameters."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lycoris_ext.errors import ConfigError, EnvironmentFault
from lycoris_ext.network.sd_scripts_names import RATIOS

OPTIMIZERS = ("AdamW8bit", "AdamW")


@dataclass(frozen=True)
class OptimizerConfig:
    """How the adapter's parameters are updated.

    Args:
        optimizer_type: "AdamW8bit" (bitsandbytes; its state takes a quarter) or "AdamW".
        learning_rate: for everything that has no rate of its own.
        unet_lr: for the U-Net's adapter (unset: learning_rate; 0: not trained).
        text_encoder_lr: for the text encoder's adapter (unset: learning_rate; 0: not trained).
        loraplus_lr_ratio: LoRA+: the factors on the output side of the adapter (lora_up, LoHa's
            hada_w1_a and hada_w2_a, LoKr's lokr_w2_a) learn so many times as fast; 16 is usual.
            Unset: as fast as the others.
        loraplus_unet_lr_ratio: the same for the U-Net's adapter (unset: loraplus_lr_ratio).
        loraplus_text_encoder_lr_ratio: the same for the text encoder's (unset: loraplus_lr_ratio).
        weight_decay: share of each parameter taken off per step, times the learning rate.
        adam_beta1, adam_beta2: how long Adam remembers gradients and their squares.
        adam_epsilon: Adam's floor under the root of the squares.
        max_grad_norm: longer gradients are scaled down to this norm; 0: never.
    """

    optimizer_type: str = "AdamW8bit"
    learning_rate: float = 2e-4
    unet_lr: float | None = None
    text_encoder_lr: float | None = None
    loraplus_lr_ratio: float | None = None
    loraplus_unet_lr_ratio: float | None = None
    loraplus_text_encoder_lr_ratio: float | None = None
    weight_decay: float = 0.01
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        _choice("optimizer_type", self.optimizer_type, OPTIMIZERS)
        for name in ("learning_rate", "unet_lr", "text_encoder_lr"):
            rate = getattr(self, name)
            if rate is not None and not 0.0 <= rate <= 10.0:
                raise ConfigError(
                    f"{name} is {rate}, expected a number from 0 to 10",
                    where=name,
                    fix="2e-4 is the usual rate for LoHa, 1e-4 for LoRA",
                )
        for name in RATIOS:
            ratio = getattr(self, name)
            if ratio is not None and not 0.0 < ratio < math.inf:
                raise ConfigError(
                    f"{name} is {ratio}, expected a number above 0",
                    where=name,
                    fix="16 is usual; remove it for the same rate everywhere",
                )
        if self.effective_unet_lr == 0.0 and self.effective_text_encoder_lr == 0.0:
            raise ConfigError(
                "unet_lr and text_encoder_lr are both 0: nothing would be trained",
                where="unet_lr",
                fix="set at least one of them above 0",
            )
        for name in ("weight_decay", "max_grad_norm"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}, expected 0 or more",
                    where=name,
                    fix=f"change {name}",
                )
        for name in ("adam_beta1", "adam_beta2"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}, expected a number from 0 to below 1",
                    where=name,
                    fix="use 0.9 and 0.999",
                )

    @property
    def rates(self) -> dict[str, Any]:
        """The options that ``Network.param_groups`` takes."""
        names = ("learning_rate", "unet_lr", "text_encoder_lr", *RATIOS)
        return {name: getattr(self, name) for name in names}

    @property
    def effective_unet_lr(self) -> float:
        return self.learning_rate if self.unet_lr is None else self.unet_lr

    @property
    def effective_text_encoder_lr(self) -> float:
        return self.learning_rate if self.text_encoder_lr is None else self.text_encoder_lr


def build_optimizer(
    param_groups: Iterable[Mapping[str, Any]], config: OptimizerConfig
) -> torch.optim.Optimizer:
    """Build the optimizer; each group remembers its rate as "base_lr".

    Args:
        param_groups: "params", "lr" and "name" each, as Network.param_groups gives them.
        config: type and settings.

    Raises:
        ConfigError: there is no parameter to train.
        EnvironmentFault: AdamW8bit is asked for and bitsandbytes is not installed. Never replaced
            silently: another optimizer gives another result.
    """
    groups = [{**group, "params": list(group["params"])} for group in param_groups]
    groups = [{**group, "base_lr": float(group["lr"])} for group in groups if group["params"]]
    if not groups:
        raise ConfigError(
            "the network has no parameter to train",
            where="network",
            fix="check preset, include, exclude and the learning rates",
        )
    settings: dict[str, Any] = {
        "lr": config.learning_rate,
        "betas": (config.adam_beta1, config.adam_beta2),
        "eps": config.adam_epsilon,
        "weight_decay": config.weight_decay,
    }
    if config.optimizer_type == "AdamW":
        return torch.optim.AdamW(groups, **settings)
    return _bitsandbytes_class("AdamW8bit")(groups, **settings)


def _bitsandbytes_class(name: str) -> Any:
    # On a CPU its import complains about optional kernels that training does not use.
    logger = logging.getLogger("bitsandbytes")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        import bitsandbytes
    except ImportError as error:
        raise EnvironmentFault(
            f"bitsandbytes cannot be imported ({error})",
            where=f'optimizer_type = "{name}"',
            fix='pip install "lycoris-ext[train]" (or: pip install bitsandbytes), or set '
            'optimizer_type = "AdamW", which needs nothing but more memory',
        ) from error
    finally:
        logger.setLevel(level)
    return getattr(bitsandbytes.optim, name)


def _choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value in known:
        return
    same = [option for option in known if option.lower() == value.lower()]
    raise ConfigError(
        f"{name} {value!r} is not supported",
        where=name,
        fix=f'use "{same[0]}"' if same else "use one of " + ", ".join(known),
    )
