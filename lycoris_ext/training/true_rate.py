"""The rate that an optimizer really takes, where it differs from the learning rate of its groups.

Source of the formulas: the packages' own step functions, and for the names sd-scripts'
train_network.py.
"""

from __future__ import annotations

from typing import Any

import torch


def true_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return name of a group -> the rate that the optimizer goes on with after a step.

    Optimizers that find the rate keep an estimate d: the rate is d times the learning rate, for
    Prodigy Plus d times the "effective" learning rate of its average. Schedule-free optimizers warm
    up by themselves. Adafactor sets the rate from the step.

    Returns:
        Empty for optimizers that take the learning rates that they are given.
    """
    rates = {group["name"]: _true_rate(optimizer, group) for group in optimizer.param_groups}
    return {name: rate for name, rate in rates.items() if rate is not None}


def _true_rate(optimizer: Any, group: dict[str, Any]) -> float | None:
    if group.get("relative_step"):
        states = [optimizer.state[p] for p in group["params"] if optimizer.state.get(p)]
        return float(optimizer._get_lr(group, states[0])) if states else None
    if "d" in group:
        found = group["d"] if group.get("shared_d") is None else group["shared_d"]
        return float(found) * float(group.get("effective_lr", group["lr"]))
    return float(group["scheduled_lr"]) if "scheduled_lr" in group else None
