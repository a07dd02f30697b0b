"""What an optimizer is: how it is built, and what users, files and messages say about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from math import inf
from typing import Any

import torch

from lycoris_ext.errors import ConfigError, EnvironmentFault, Faults
from lycoris_ext.options import Option
from lycoris_ext.options.arguments import read_arguments, signature_faults
from lycoris_ext.training.named_class import imported_class

ARGUMENTS = "optimizer_args"
"""The option with what a class takes besides the options that its entry declares."""
FALLBACK = "AdamW"
"""An optimizer that needs no other package."""

Groups = list[dict[str, Any]]
"""Parameter groups as torch's optimizers take them: dicts with "params", "lr" and other options."""


@dataclass(frozen=True)
class OptimizerKind:
    """One optimizer: how it is built, and what users, files and messages say about it.

    Args:
        name: the value of optimizer_type, as sd-scripts spells it.
        summary: one sentence for the docs.
        class_path: module and class, as sd-scripts writes them into an adapter's metadata.
        state_bytes: bytes of state for each trained number; 8 for AdamW, which keeps two float32.
        arguments: argument of the factory -> the options that set it. One option is passed as its
            value, several are passed as the tuple of their values. optimizer_args of sd-scripts
            and the metadata use the names of these arguments.
        factory: called with the parameter groups, ``lr`` and the arguments; None: the class at
            class_path. It may import the package that the optimizer comes from; the module that
            declares it must not.
        settings: argument of the factory -> value, where that is another than the class's default.
        switch: an option of sd-scripts that chooses this optimizer when it is true.
        one_rate: whether all groups must have the same learning rate.
        rates: the lowest and the highest learning rate that are usual with it.
        finds_rate: whether the learning rate is a factor of a rate that it finds itself.
        needs_no_schedule: whether it averages the weights in place of a schedule, so that
            lr_scheduler should be constant.
        own_rate_unless: an entry of optimizer_args without which it sets the rate itself and
            ignores all learning rates; "": it takes the rates that it is given.
        warm_up_needs: an entry of optimizer_args without which a warm-up does harm.
        hints: sentences that users read once before the first step, unless max_grad_norm is 0.
        package: a package that it needs in addition to those of ``lycoris_ext``.
        install: the command that installs this package; unset: "pip install PACKAGE".
    """

    name: str
    summary: str
    class_path: str
    state_bytes: float
    factory: Callable[..., torch.optim.Optimizer] | None = None
    arguments: Mapping[str, tuple[Option, ...]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    switch: str = ""
    one_rate: bool = False
    rates: tuple[float, float] = (0.0, inf)
    finds_rate: bool = False
    needs_no_schedule: bool = False
    own_rate_unless: str = ""
    warm_up_needs: str = ""
    hints: tuple[str, ...] = ()
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
            values: option -> value, for at least this optimizer's options and optimizer_args.

        Raises:
            ConfigError: it does not take these optimizer_args, or refuses their values.
            EnvironmentFault: the optimizer's package cannot be imported. No other optimizer is
                used instead, because the result would differ.
        """
        try:
            self.check(values)
            make: Callable[..., torch.optim.Optimizer] = self.factory or self.imported()
            optimizer = make(groups, lr=learning_rate, **self._settings(values))
        except ImportError as error:
            if not self.package:
                raise
            raise self.missing(error) from error
        except (ValueError, TypeError, RuntimeError) as error:
            raise ConfigError(
                f"{self.name} does not accept these settings: {' '.join(str(error).split())}",
                where="optimizer_args",
                fix="change optimizer_args or the learning rate",
            ) from error
        if has_modes(optimizer):
            optimizer.train()  # type: ignore[attr-defined]
        return optimizer

    def imported(self) -> type[torch.optim.Optimizer]:
        """Import the class of the optimizer.

        Raises:
            ConfigError: there is no such class.
            EnvironmentFault: its package cannot be imported.
        """
        try:
            return imported_class(self.class_path, torch.optim.Optimizer, "optimizer_type")
        except EnvironmentFault as error:
            raise (self.missing(error.__cause__ or error) if self.package else error) from error

    def missing(self, error: BaseException) -> EnvironmentFault:
        """Return the error that says that the optimizer's package cannot be imported, and why."""
        return EnvironmentFault(
            f"{self.package} cannot be imported ({error})",
            where=f'optimizer_type = "{self.name}"',
            fix=f"{self.install or f'pip install {self.package}'}, or {fallback_advice()}",
        )

    def sets_rate(self, arguments: Sequence[str]) -> bool:
        """Whether it ignores the learning rates, given the texts of optimizer_args."""
        return bool(self.own_rate_unless) and self.own_rate_unless not in arguments

    @property
    def is_installed(self) -> bool:
        """Whether the package that it needs can be found; nothing is imported."""
        return not self.package or find_spec(self.class_path.partition(".")[0]) is not None

    def check(self, values: Mapping[str, Any]) -> None:
        """Check optimizer_args against the signature of the optimizer's class.

        Args:
            values: option -> value.

        Raises:
            ConfigError: all faults at once.
            EnvironmentFault: the optimizer's package cannot be imported.
        """
        given = read_arguments(ARGUMENTS, values.get(ARGUMENTS, ()))
        if given:
            Faults(signature_faults(ARGUMENTS, given, self.imported(), self.name)).raise_all()

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
        settings = dict(self.settings)
        for argument, options in self.arguments.items():
            parts = tuple(values[known.name] for known in options)
            settings[argument] = parts[0] if len(parts) == 1 else parts
        return settings | read_arguments(ARGUMENTS, values.get(ARGUMENTS, ()))


def has_modes(optimizer: torch.optim.Optimizer) -> bool:
    """Return True if the weights that an optimizer trains differ from those to save and draw with.

    Schedule-free optimizers switch between them in their ``train()`` and ``eval()``.
    """
    return hasattr(optimizer, "train") and hasattr(optimizer, "eval")


def fallback_advice() -> str:
    """Return advice for a message that says that an optimizer's package is missing or broken."""
    return f'set optimizer_type = "{FALLBACK}", which needs no other package'
