"""Building the optimizers that are more than a call of their class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lycoris_ext.training.named_class import imported

Build = Callable[..., torch.optim.Optimizer]


def paged(name: str) -> Build:
    """Return a function that builds one of bitsandbytes' paged optimizers.

    On a CPU, where there is nothing to page, it builds the plain one, which computes the same and
    does not warn of it.

    Args:
        name: of the plain optimizer.
    """

    def build(groups: list[dict[str, Any]], **settings: Any) -> torch.optim.Optimizer:
        on_gpu = any(p.device.type != "cpu" for group in groups for p in group["params"])
        found = f"Paged{name}" if on_gpu else name
        optimizer: torch.optim.Optimizer = imported(
            f"bitsandbytes.optim.{found}", "optimizer_type"
        )(groups, **settings)
        return optimizer

    return build


def adafactor(
    groups: list[dict[str, Any]],
    lr: float,
    relative_step: bool = True,
    warmup_init: bool = False,
    **settings: Any,
) -> torch.optim.Optimizer:
    """Build Adafactor, by default with a rate that it sets itself, as in sd-scripts."""
    optimizer: torch.optim.Optimizer = imported(
        "transformers.optimization.Adafactor", "optimizer_type"
    )(
        groups,
        lr=None if relative_step or warmup_init else lr,
        relative_step=relative_step or warmup_init,
        warmup_init=warmup_init,
        **settings,
    )
    return optimizer


def muon(groups: list[dict[str, Any]], lr: float, **settings: Any) -> torch.optim.Optimizer:
    """Build Muon for the matrices of each group, and its AdamW for all other tensors.

    With ``use_adjusted_lr`` Muon's steps are as long as AdamW's, so that both take the same rate.
    """
    split = []
    for group in groups:
        matrices = [p for p in group["params"] if p.ndim == 2]
        others = [p for p in group["params"] if p.ndim != 2]
        if matrices:
            split.append({**group, "params": matrices, "use_muon": True})
        if others:
            name = f"{group['name']} adamw" if "name" in group else "adamw"
            split.append({**group, "params": others, "use_muon": False, "name": name})
    optimizer: torch.optim.Optimizer = imported(
        "pytorch_optimizer.optimizer.muon.muon.Muon", "optimizer_type"
    )(split, lr=lr, **settings)
    return optimizer
