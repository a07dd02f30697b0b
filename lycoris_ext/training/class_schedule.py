"""Learning rates by a scheduler class of torch or of another package (lr_scheduler_type).

Such a class changes the rates of an optimizer, step by step. It is given an optimizer of its own
with the run's rates and no weights, and is asked for the rates alone. So a saved run needs no state
of it: a continued run takes the scheduler as many steps ahead again.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from lycoris_ext.errors import ConfigError, Faults
from lycoris_ext.options.arguments import read_arguments, signature_faults
from lycoris_ext.training.named_class import imported_class

_TYPE, _ARGUMENTS = "lr_scheduler_type", "lr_scheduler_args"


class ClassSchedule:
    """A scheduler that runs beside the training.

    Args:
        path: a class in torch.optim.lr_scheduler, or a dotted path.
        texts: its arguments, as "name=value".
        base_rates: learning rate of each group, above 0.

    Raises:
        ConfigError: the class does not take these arguments, or refuses their values.
        EnvironmentFault: its package cannot be imported.
    """

    def __init__(self, path: str, texts: Sequence[str], base_rates: Sequence[float]) -> None:
        dotted = path if "." in path else f"torch.optim.lr_scheduler.{path}"
        self._class = imported_class(dotted, LRScheduler, _TYPE)
        self._path, self._base = path, tuple(base_rates)
        self._arguments = read_arguments(_ARGUMENTS, texts)
        Faults(signature_faults(_ARGUMENTS, self._arguments, self._class, path)).raise_all()
        self._start()

    def _start(self) -> None:
        groups = [{"params": [nn.Parameter(torch.zeros(()))], "lr": rate} for rate in self._base]
        self._optimizer = torch.optim.SGD(groups, lr=self._base[0], momentum=0.9)
        self._at = 0
        try:
            self._scheduler: Any = self._class(self._optimizer, **self._arguments)
        except (ValueError, TypeError, RuntimeError) as error:
            raise self._refused(error) from error

    def factors(self, step: int) -> list[float]:
        """Return the factor of each group's learning rate in a step, counted from 0.

        Raises:
            ConfigError: the scheduler ends before this step, or changes more than rates.
        """
        if step < self._at:
            self._start()
        while self._at < step:
            self._advance()
        groups = self._optimizer.param_groups
        return [group["lr"] / rate for group, rate in zip(groups, self._base, strict=True)]

    def _advance(self) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "step() before optimizer.step()": there is none
                self._scheduler.step()
        except (ValueError, TypeError, RuntimeError, IndexError) as error:
            raise self._refused(error) from error
        self._at += 1

    def check_rates_alone(self) -> None:
        """Check that the scheduler has changed nothing but rates so far.

        Raises:
            ConfigError: it has changed the momentum, which the run's optimizer would not follow.
        """
        if any(group["momentum"] != 0.9 for group in self._optimizer.param_groups):
            raise ConfigError(
                f"{self._path} changes the optimizer's momentum, too, which is not supported",
                where=_ARGUMENTS,
                fix=f'add "cycle_momentum=False" to {_ARGUMENTS}',
            )

    def _refused(self, error: Exception) -> ConfigError:
        return ConfigError(
            f"{self._path} does not work here: {' '.join(str(error).split())}",
            where=_TYPE,
            fix=f"change {_ARGUMENTS}, or use lr_scheduler",
        )
