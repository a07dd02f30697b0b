"""One optimizer step of a run: its batches, its update, and what is written down about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from lycoris_ext.data import BatchPlan
from lycoris_ext.errors import DivergedError
from lycoris_ext.network import Banks
from lycoris_ext.training.run import Run
from lycoris_ext.training.schedules import learning_rate_factor
from lycoris_ext.training.step import optimizer_step


def one_step(
    run: Run, batch_loss: Callable[[BatchPlan], Tensor], batches: Iterator[BatchPlan], banks: Banks
) -> tuple[float, float | None, int]:
    """Accumulate the gradients of some batches and update the adapter once.

    The losses are read when every batch is under way, so that a GPU is waited for once a step.

    Returns:
        Mean loss, norm of the gradient (None where fp16 overflowed), and the epoch.

    Raises:
        DivergedError: a loss or the gradient is NaN or infinite; nothing was updated.
    """
    accumulation = run.config.run.gradient_accumulation_steps
    plans, losses = [], []
    with banks.built_once():
        for _ in range(accumulation):
            plan = next(batches)
            loss = batch_loss(plan)
            part = loss / accumulation
            (run.scaler.scale(part) if run.scaler is not None else part).backward()
            plans.append(plan)
            losses.append(loss.detach())
    values = torch.stack(losses).tolist()
    for plan, value in zip(plans, values, strict=True):
        if not math.isfinite(value):
            raise diverged(run, plan, f"the loss is {value}")
    total = sum(value / accumulation for value in values)
    optimizer = run.config.optimizer
    factor = learning_rate_factor(
        run.config.schedule, run.step, run.total_steps, optimizer.learning_rate
    )
    limit = optimizer.max_grad_norm
    norm = optimizer_step(run.optimizer, factor, limit, run.scaler)
    if math.isfinite(norm):
        return total, norm, plan.epoch
    if run.scaler is None:
        raise diverged(run, plan, f"the gradient's norm is {norm}")
    return total, None, plan.epoch


def diverged(run: Run, plan: BatchPlan, what: str) -> DivergedError:
    """Say where a run went wrong, in its events and in the error."""
    files = [str(path) for path in run.training_set.files(plan)]
    run.events.write("diverged", run.step, batch=plan.number, files=files)
    return DivergedError(
        f"{what} in step {run.step + 1}, batch {plan.number}; its pictures:\n  "
        + "\n  ".join(files),
        where=run.config.run.output_name,
        fix=f"look at these pictures, or lower learning_rate "
        f"({run.config.optimizer.learning_rate}); what was saved before is unharmed",
    )


def record_step(
    run: Run, loss: float, norm: float | None, epoch: int, scaled: int
) -> dict[str, float]:
    """Write a step into the run's events.

    Args:
        run: after the step.
        loss, norm, epoch: as one_step returns them.
        scaled: how many layers scale_weight_norms scaled down.

    Returns:
        The learning rates of the step, by group.
    """
    rates = {group["name"]: group["lr"] for group in run.optimizer.param_groups}
    more = {} if run.config.run.scale_weight_norms is None else {"scaled_layers": scaled}
    run.events.write(
        "step", run.step, loss=loss, epoch=epoch, grad_norm=norm, learning_rates=rates, **more
    )
    return rates
