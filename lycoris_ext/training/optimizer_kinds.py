"""The optimizers that users can choose, with one entry for each; no other module names them.

A new optimizer is one more entry:

    register_optimizer(
        OptimizerKind(
            name="Rprop",
            summary="Resilient backpropagation.",
            factory=torch.optim.Rprop,
            arguments={
                "etas": (
                    Option("rprop_low", float, 0.5, "Factor of ...", above=0.0, below=1.0),
                    Option("rprop_high", float, 1.2, "Factor of ...", above=1.0),
                )
            },
            state_bytes=8,
            class_path="torch.optim.rprop.Rprop",
        )
    )

Its options then appear as flags, in TOML files, as inputs of ComfyUI's Optimizer node, in the
metadata of adapters and in the docs; tests/training/test_optimizer_kinds.py trains with it, kills
the run and resumes it.
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
"""Parameter groups as torch's optimizers take them: dicts with "params", "lr" and other options."""


@dataclass(frozen=True)
class OptimizerKind:
    """One optimizer: how it is built, and what users, files and messages say about it.

    Args:
        name: the value of optimizer_type, as sd-scripts spells it.
        summary: one sentence for the docs.
        factory: called with the parameter groups, ``lr`` and the arguments below. It may import
            the package that the optimizer comes from; this module must not.
        class_path: module and class, as sd-scripts writes them into an adapter's metadata.
        state_bytes: bytes of state for each trained number; 8 for AdamW, which keeps two float32.
        arguments: argument of the factory -> the options that set it. One option is passed as its
            value, several are passed as the tuple of their values. optimizer_args of sd-scripts
            and the metadata use the names of these arguments.
        switch: an option of sd-scripts that chooses this optimizer when it is true.
        has_modes: whether it has ``train()`` and ``eval()``, because the weights that it trains
            differ from those to save and to draw with, as in schedule-free optimizers.
        one_rate: whether all groups must have the same learning rate.
        package: a package that it needs in addition to those of ``lycoris_ext``.
        install: the command that installs this package; unset: "pip install PACKAGE".
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
        """The options that this optimizer reads in addition to those of every optimizer."""
        return tuple(known for options in self.arguments.values() for known in options)

    def build(
        self, groups: Groups, learning_rate: float, values: Mapping[str, Any]
    ) -> torch.optim.Optimizer:
        """Make the optimizer, ready to train.

        Args:
            groups: at least one, each with its own "lr".
            learning_rate: of groups without one.
            values: option -> value, for at least this optimizer's options.

        Raises:
            EnvironmentFault: the optimizer's package cannot be imported. No other optimizer is
                used instead, because the result would differ.
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
        """Return the text of the metadata field ss_optimizer: "module.Class(argument=value,...)".

        Args:
            values: option -> value, for at least this optimizer's options.
        """
        settings = ",".join(f"{name}={value}" for name, value in self._settings(values).items())
        return f"{self.class_path}({settings})" if settings else self.class_path

    def read_argument(self, name: str, value: Any) -> dict[str, Any] | None:
        """Turn one of sd-scripts' optimizer_args into options.

        Args:
            name: of the argument, such as "betas".
            value: of the argument; a tuple if several options set it.

        Returns:
            Option -> value, not checked yet; None if the optimizer has no such argument, or if it
            takes another number of values.
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


DEFAULT_OPTIMIZER = "AdamW8bit"
"""The value of optimizer_type where nobody sets it."""

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
    """Return every optimizer, in the order of registration."""
    return tuple(_KINDS.values())


def optimizer_names() -> Sequence[str]:
    """Return the values that the option optimizer_type accepts."""
    return tuple(_KINDS)


def optimizer_kind(name: str) -> OptimizerKind:
    """Return the optimizer of a name; it must be one of ``optimizer_names()``."""
    return _KINDS[name]


def optimizer_options() -> Sequence[Option]:
    """Return the options of all optimizers, each once, with the names of those that read it."""
    return options_of({name: kind.options for name, kind in _KINDS.items()})


def fallback_optimizer() -> str:
    """Return the name of an optimizer that needs no other package."""
    return next(kind.name for kind in optimizer_kinds() if not kind.package)


def fallback_advice() -> str:
    """Return advice for a message that says that an optimizer's package is missing or broken."""
    return f'set optimizer_type = "{fallback_optimizer()}", which needs no other package'


def _adamw_8bit(groups: Groups, **settings: Any) -> torch.optim.Optimizer:
    # On a CPU its import logs errors about optional kernels, which training does not use.
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
            "Weight decay: each step reduces every trained number by this share of it, times the "
            "learning rate. 0: no weight decay.",
            low=0.0,
        ),
    ),
    "betas": (
        Option(
            "adam_beta1",
            float,
            0.9,
            "Share of the old value that AdamW's running average of gradients keeps in each step "
            "(beta 1). With a higher value, new gradients change the direction more slowly.",
            low=0.0,
            below=1.0,
            step=0.001,
            fix=_BETA_FIX,
        ),
        Option(
            "adam_beta2",
            float,
            0.999,
            "Share of the old value that AdamW's running average of squared gradients keeps in "
            "each step (beta 2). AdamW divides its steps by the root of this average.",
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
            "Steps are divided by the root of an average of squared gradients plus this number, so "
            "that gradients close to 0 cause no huge steps.",
            low=0.0,
        ),
    ),
}

register_optimizer(
    OptimizerKind(
        name="AdamW8bit",
        summary="AdamW with running averages in 8 bits, which need a quarter of AdamW's memory.",
        factory=_adamw_8bit,
        class_path="bitsandbytes.optim.adamw.AdamW8bit",
        state_bytes=2,
        arguments=_ADAMW,
        switch="use_8bit_adam",
        package="bitsandbytes",
        install="pip install bitsandbytes",
    )
)
register_optimizer(
    OptimizerKind(
        name="AdamW",
        summary="Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101).",
        factory=torch.optim.AdamW,
        class_path="torch.optim.adamw.AdamW",
        state_bytes=8,
        arguments=_ADAMW,
    )
)
register_optimizer(
    OptimizerKind(
        name="Adam",
        summary="AdamW without weight decay (Kingma & Ba 2015, arXiv:1412.6980).",
        factory=torch.optim.Adam,
        class_path="torch.optim.adam.Adam",
        state_bytes=8,
        arguments={name: _ADAMW[name] for name in ("betas", "eps")},
    )
)
register_optimizer(
    OptimizerKind(
        name="SGD",
        summary="Gradient descent with momentum; it needs far higher learning rates than AdamW.",
        factory=torch.optim.SGD,
        class_path="torch.optim.sgd.SGD",
        state_bytes=4,
        arguments={
            "momentum": (
                Option(
                    "sgd_momentum",
                    float,
                    0.9,
                    "Share of the last step's movement that SGD keeps in each step. 0: each step "
                    "follows its own gradient alone.",
                    low=0.0,
                    below=1.0,
                    step=0.01,
                ),
            )
        },
    )
)
register_optimizer(
    OptimizerKind(
        name="RMSprop",
        summary="Gradients divided by the root of a running average of their squares.",
        factory=torch.optim.RMSprop,
        class_path="torch.optim.rmsprop.RMSprop",
        state_bytes=4,
        arguments={
            "alpha": (
                Option(
                    "rmsprop_alpha",
                    float,
                    0.99,
                    "Share of the old value that RMSprop's running average of squared gradients "
                    "keeps in each step.",
                    low=0.0,
                    below=1.0,
                    step=0.001,
                ),
            ),
            "eps": _ADAMW["eps"],
        },
    )
)
