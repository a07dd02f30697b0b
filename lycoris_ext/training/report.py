"""What is known of a step when it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class StepReport:
    """What one optimizer step did.

    Args:
        step: number of the step, counted from 1.
        loss: mean over the step's batches.
        average: moving average of the loss (``runs.losses.running_average``).
        norm: of the gradient before clipping; None where fp16 overflowed and nothing was updated.
        epoch: of the last batch, counted from 0.
        rates: learning rate of each group of parameters, by the group's name.
    """

    step: int
    loss: float
    average: float
    norm: float | None
    epoch: int
    rates: Mapping[str, float]
