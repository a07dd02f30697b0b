"""The learning rates of a run: what its schedule makes of them in each step."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lycoris_ext.training.class_schedule import ClassSchedule
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.schedules import in_steps, learning_rate_factor
from lycoris_ext.words import count

TEXT_ENCODERS = "text_encoder"
"""How the names of the text encoders' groups begin."""


class Rates:
    """The factors of the learning rates of a run, for each step and group.

    Args:
        config: of the run.
        base_rates: the learning rate of each group before any schedule, above 0.
        total_steps: of the whole run.

    Raises:
        ConfigError, EnvironmentFault: the class in lr_scheduler_type cannot be used.
    """

    def __init__(self, config: TrainConfig, base_rates: Sequence[float], total_steps: int) -> None:
        self._schedule, self._rate = config.schedule, config.optimizer.learning_rate
        self._count, self.total_steps = len(base_rates), total_steps
        stop = config.optimizer.stop_text_encoder_training
        self.stop = max(1, in_steps(stop, total_steps)) if stop else None
        named = self._schedule.lr_scheduler_type
        self._class = (
            ClassSchedule(named, self._schedule.lr_scheduler_args, base_rates) if named else None
        )

    def factors(self, step: int) -> list[float]:
        """Return the factor of each group's learning rate in a step, counted from 0."""
        if self._class is not None:
            return self._class.factors(step)
        factor = learning_rate_factor(self._schedule, step, self.total_steps, self._rate)
        return [factor] * self._count

    def before(self, step: int, optimizer: torch.optim.Optimizer) -> list[float]:
        """Freeze what is not trained from this step on, and return the factors of the groups.

        Args:
            step: about to be done, counted from 0.
            optimizer: with as many groups as ``base_rates``; those of the text encoders have names
                that begin with TEXT_ENCODERS.
        """
        factors = self.factors(step)
        if self.stop is None or step < self.stop:
            return factors
        for number, group in enumerate(optimizer.param_groups):
            if str(group["name"]).startswith(TEXT_ENCODERS):
                factors[number] = 0.0
                for parameter in group["params"]:
                    parameter.requires_grad_(False)
        return factors

    def mean_factor(self) -> float:
        """Return the mean factor of the first group over the run, 1.0 for a constant schedule."""
        return sum(self.factors(step)[0] for step in range(self.total_steps)) / self.total_steps

    def check(self) -> None:
        """Go through the run without training.

        Raises:
            ConfigError: the class in lr_scheduler_type ends before the run, or changes more than
                rates.
        """
        if self._class is not None:
            self.mean_factor()
            self._class.check_rates_alone()

    def describe(self) -> str:
        """Say what the schedule leaves of the learning rate over the run."""
        mean = self.mean_factor()
        name = self._schedule.lr_scheduler_type or self._schedule.lr_scheduler
        return (
            f"learning rate: {name}, {mean:.3g} of its full value on average; "
            f"{count(self.total_steps, 'step')} with it add up to as much as "
            f"{mean * self.total_steps:.6g} at the full rate"
        )
