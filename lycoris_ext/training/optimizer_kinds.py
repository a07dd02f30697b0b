"""The optimizers that can be chosen: one entry each, and nothing else in the package names one.

A new optimizer is one more entry:

    register_optimizer(
        OptimizerKind(
            name="SGD",
            summary="Plain gradient descent with momentum.",
            factory=torch.optim.SGD,
            arguments={
                "momentum": (
                    Option("sgd_momentum", float, 0.9, "Share of ...", low=0.0, below=1.0),
                )
            },
            state_bytes=4,
            class_path="torch.optim.sgd.SGD",
        )
    )

Its options are then flags, options of TOML files, inputs of ComfyUI's Optimizer node, part of an
adapter's metadata and rows of the docs; tests/training/test_optimizer_kinds.py trains, kills and
resumes it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from lycoris_ext.errors import EnvironmentFault
from lycoris_ext.options import Option, options_of

Groups = list[dict[str, Any]]
"""Parameter groups as torch's optimizers take them: "params", "lr" and whatever else belongs."""


@dataclass(frozen=True)
class OptimizerKind:
    """One optimizer: how it is built, and what users, files and messages say about it.

    Args:
        name: the value of optimizer_type, as sd-scripts spells it.
        summary: one sentence for the docs.
        factory: called with the parameter groups, ``lr`` and the arguments below. It may import
            the package that the optimizer comes from; this module must not.
        class_path: module and class, as sd-scripts writes them into an adapter's metadata.
        state_bytes: what it keeps for each trained number, in bytes; AdamW keeps two float32.
        arguments: argument of the factory -> the options that it is made of. One option is passed
            as its value, several as the tuple of their values. sd-scripts' optimizer_args and the
            metadata have these arguments under the same names.
        switch: an option of sd-scripts that chooses this optimizer when it is true.
        has_modes: whether it has ``train()`` and ``eval()``: it trains on other weights than those
            that are drawn with and saved, as schedule-free optimizers do.
        one_rate: whether all groups must have the same learning rate.
        package: the package that it needs and that ``lycoris_ext`` does not.
        install: the command that installs the package; unset: "pip install PACKAGE".
    """

    name: str
    summary: str
    factory: Callable[..., torch.optim.Optimizer]
    class_path: str
    state_bytes: float
    arguments: Mapping[str, tuple[Option, ...]] = field(default_factory=dict)
    switch: str = ""
    has_modes: bool = False
    one_rate: bool = False
    package: str = ""
    install: str = ""

    @property
    def options(self) -> tuple[Option, ...]:
        """The options that this optimizer reads, beside those that every optimizer has."""
        return tuple(known for options in self.arguments.values() for known in options)

    def build(
        self, groups: Groups, learning_rate: float, values: Mapping[str, Any]
    ) -> torch.optim.Optimizer:
        """Make the optimizer, ready to train.

        Args:
            groups: at least one, each with its own "lr".
            learning_rate: of groups without one.
            values: name -> value of at least this kind's options.

        Raises:
            EnvironmentFault: its package cannot be imported. It is never replaced by another
                optimizer, which would give another result.
        """
        try:
            optimizer = self.factory(groups, lr=learning_rate, **self._settings(values))
        except ImportError as error:
            if not self.package:
                raise
            raise EnvironmentFault(
                f"{self.package} cannot be imported ({error})",
                where=f'optimizer_type = "{self.name}"',
                fix=f"{self.install or f'pip install {self.package}'}, or {fallback_advice()}",
            ) from error
        if self.has_modes:
            optimizer.train()  # type: ignore[attr-defined]
        return optimizer

    def metadata_text(self, values: Mapping[str, Any]) -> str:
        """The text of the metadata field ss_optimizer: "module.Class(argument=value,...)".

        Args:
            values: name -> value of at least this kind's options.
        """
        settings = ",".join(f"{name}={value}" for name, value in self._settings(values).items())
        return f"{self.class_path}({settings})" if settings else self.class_path

    def read_argument(self, name: str, value: Any) -> dict[str, Any] | None:
        """Turn one of sd-scripts' optimizer_args into options: name -> value, not checked yet.

        Args:
            name: of the argument.
            value: a single value, or a tuple where the argument is made of several options.

        Returns:
            None if there is no such argument, or if it has another number of values.
        """
        options = self.arguments.get(name, ())
        parts = (value,) if len(options) == 1 else value
        if not options or not isinstance(parts, tuple) or len(parts) != len(options):
            return None
        return {known.name: part for known, part in zip(options, parts, strict=True)}

    def _settings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        settings = {}
        for argument, options in self.arguments.items():
            parts = tuple(values[known.name] for known in options)
            settings[argument] = parts[0] if len(parts) == 1 else parts
        return settings


_KINDS: dict[str, OptimizerKind] = {}


def register_optimizer(kind: OptimizerKind) -> None:
    """Let users choose an optimizer by its name.

    Raises:
        TypeError: there is an optimizer of this name, or one that declares an option of the same
            name in another way.
    """
    if kind.name in _KINDS:
        raise TypeError(f"there is an optimizer {kind.name} already")
    options_of({name: known.options for name, known in {**_KINDS, kind.name: kind}.items()})
    _KINDS[kind.name] = kind


def optimizer_kinds() -> Sequence[OptimizerKind]:
    """Every optimizer, in the order in which they were registered."""
    return tuple(_KINDS.values())


def optimizer_names() -> Sequence[str]:
    """The values that optimizer_type can have."""
    return tuple(_KINDS)


def optimizer_kind(name: str) -> OptimizerKind:
    """The optimizer of a name that optimizer_type can have."""
    return _KINDS[name]


def optimizer_options() -> Sequence[Option]:
    """The options of all optimizers, each once and with the names of its readers."""
    return options_of({name: kind.options for name, kind in _KINDS.items()})


def fallback_optimizer() -> str:
    """The optimizer to fall back on where nothing can be installed."""
    return next(kind.name for kind in optimizer_kinds() if not kind.package)


def fallback_advice() -> str:
    """Advice for where an optimizer's package is missing or broken."""
    return f'set optimizer_type = "{fallback_optimizer()}", which needs no other package'


def _adamw_8bit(groups: Groups, **settings: Any) -> torch.optim.Optimizer:
    # On a CPU its import complains about optional kernels that training does not use.
    logger = logging.getLogger("bitsandbytes")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        import bitsandbytes
    finally:
        logger.setLevel(level)
    optimizer: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(groups, **settings)
    return optimizer


_BETA_FIX = "use 0.9 for adam_beta1 and 0.999 for adam_beta2"
_ADAMW = {
    "weight_decay": (
        Option(
            "weight_decay",
            float,
            0.01,
            "Pulls the trained numbers toward 0: each step takes away this share of them, times "
            "the learning rate. 0 turns it off.",
            low=0.0,
        ),
    ),
    "betas": (
        Option(
            "adam_beta1",
            float,
            0.9,
            "Share of its running average of gradients that Adam keeps in each step. A higher "
            "value follows the newest pictures more slowly.",
            low=0.0,
            below=1.0,
            step=0.001,
            fix=_BETA_FIX,
        ),
        Option(
            "adam_beta2",
            float,
            0.999,
            "Share of its running average of squared gradients that Adam keeps in each step. Adam "
            "divides its steps by the root of this average.",
            low=0.0,
            below=1.0,
            step=0.001,
            fix=_BETA_FIX,
        ),
    ),
    "eps": (
        Option(
            "adam_epsilon",
            float,
            1e-8,
            "Adam adds this number to what it divides its steps by, so that a gradient close to 0 "
            "causes no huge step.",
            low=0.0,
        ),
    ),
}

register_optimizer(
    OptimizerKind(
        name="AdamW8bit",
        summary="AdamW that keeps its running averages in 8 bits: a quarter of AdamW's memory.",
        factory=_adamw_8bit,
        class_path="bitsandbytes.optim.adamw.AdamW8bit",
        state_bytes=2,
        arguments=_ADAMW,
        switch="use_8bit_adam",
        package="bitsandbytes",
        install='pip install "lycoris-ext[train]" (or: pip install bitsandbytes)',
    )
)
register_optimizer(
    OptimizerKind(
        name="AdamW",
        summary="Adam with weight decay apart from the gradients (Loshchilov & Hutter 2019, "
        "arXiv:1711.05101).",
        factory=torch.optim.AdamW,
        class_path="torch.optim.adamw.AdamW",
        state_bytes=8,
        arguments=_ADAMW,
    )
)
