"""The numbers that describe a finished training step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class StepReport:
    """Loss, gradient norm and learning rates of one optimizer step.

    Args:
        step: number of the step, counted from 1.
        loss: mean over the step's batches.
        average: moving average of the loss (``runs.losses.running_average``).
        norm: norm of the gradient before clipping; None if fp16 overflowed, so that nothing was
            updated.
        epoch: of the last batch, counted from 0.
        rates: learning rate of each group of parameters, by the group's name.
        true_rates: the rates that the optimizer really takes, where they differ from these
            (``true_rate.true_rates``).
    """

    step: int
    loss: float
    average: float
    norm: float | None
    epoch: int
    rates: Mapping[str, float]
    true_rates: Mapping[str, float] = field(default_factory=dict)
