"""Optimizers as another package would add them, each with something that Adam has not.

As a program, given options as JSON and a step, it trains with one of them up to that step and then
kills itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import torch
from torch import nn

from lycoris_ext.config import OptionSource, build_config
from lycoris_ext.options import Option
from lycoris_ext.training.optimizer_kinds import OptimizerKind, register_optimizer
from lycoris_ext.training.report import StepReport
from lycoris_ext.training.run import Run
from lycoris_ext.training.train import train
from lycoris_ext.training.watcher import Watcher
from tests.training.test_train import Base as SmallBase


class Estimating(torch.optim.Optimizer):
    """Estimates its rate d from how far it has come, as D-Adaptation and Prodigy do.

    What it estimates from is kept in the parameter groups: numbers, a tensor, and values in values.
    """

    def __init__(self, params: Any, lr: float, d0: float) -> None:
        kept = {"k": 0, "d": d0, "come": torch.zeros(()), "last": (None, [0.0])}
        super().__init__(params, {"lr": lr, **kept})
        for group in self.param_groups:
            group["by"] = {"largest": 0.0}

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            trained = [p for p in group["params"] if p.grad is not None]
            for p in trained:
                start = self.state[p].setdefault("start", p.detach().clone())
                group["come"] += (p.grad * (start - p)).sum()
                group["by"]["largest"] = max(group["by"]["largest"], p.grad.abs().max().item())
            if group["come"] > 0:
                length = sum(p.grad.abs().sum().item() for p in trained)
                group["last"] = (group["d"], [group["come"].item() / length])
                group["d"] = max(group["d"], group["last"][1][0])
            group["k"] += 1
            for p in trained:
                scale = group["lr"] * group["d"] * (1 + 1 / group["k"])
                p.sub_(p.grad / group["by"]["largest"], alpha=scale)


class Averaging(torch.optim.Optimizer):
    """Schedule-free gradient descent (Defazio et al. 2024, arXiv:2405.15682, eq. 3 to 5).

    Gradients are taken at y, between the plain iterate z and the average x, which is the result:
    the parameters are y in train mode and x in eval mode.
    """

    def __init__(self, params: Any, lr: float, beta: float) -> None:
        super().__init__(params, {"lr": lr, "beta": beta, "k": 0, "train_mode": False})

    @torch.no_grad()
    def train(self) -> None:
        for group in self.param_groups:
            if not group["train_mode"]:
                for p in group["params"]:
                    if p in self.state:
                        p.lerp_(self.state[p]["z"], 1 - group["beta"])
            group["train_mode"] = True

    @torch.no_grad()
    def eval(self) -> None:
        for group in self.param_groups:
            if group["train_mode"]:
                for p in group["params"]:
                    if p in self.state:
                        p.lerp_(self.state[p]["z"], 1 - 1 / group["beta"])
            group["train_mode"] = False

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            assert group["train_mode"], "a step outside of train mode"
            group["k"] += 1
            for p in group["params"]:
                if p.grad is None:
                    continue
                z = self.state[p].setdefault("z", p.detach().clone())
                x = p.lerp(z, 1 - 1 / group["beta"])
                z.sub_(p.grad, alpha=group["lr"])
                x.lerp_(z, 1 / group["k"])
                p.copy_(x.lerp(z, 1 - group["beta"]))


class SignDescent(torch.optim.Optimizer):
    """Takes steps of one length along the sign of an average of gradients."""

    def __init__(self, params: Any, lr: float, momentum: float, nesterov: bool) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "nesterov": nesterov})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                average = self.state[p].setdefault("average", torch.zeros_like(p))
                average.lerp_(p.grad, 1 - group["momentum"])
                ahead = average.lerp(p.grad, 0.5) if group["nesterov"] else average
                p.sub_(ahead.sign(), alpha=group["lr"])


ESTIMATING = OptimizerKind(
    name="Estimating",
    summary="Estimates its rate.",
    factory=Estimating,
    class_path=f"{__name__}.Estimating",
    state_bytes=4,
    arguments={"d0": (Option("first_d", float, 1e-3, "First estimate of the rate.", above=0.0),)},
    one_rate=True,
)
AVERAGING = OptimizerKind(
    name="Averaging",
    summary="Needs no schedule.",
    factory=Averaging,
    class_path=f"{__name__}.Averaging",
    state_bytes=4,
    arguments={"beta": (Option("averaging_beta", float, 0.9, "Share of the average.", above=0.0),)},
)
SIGN = OptimizerKind(
    name="SignDescent",
    summary="Steps of one length.",
    factory=SignDescent,
    class_path=f"{__name__}.SignDescent",
    state_bytes=4,
    arguments={
        "momentum": (
            Option("sign_momentum", float, 0.9, "Share of the old average.", low=0.0, below=1.0),
        ),
        "nesterov": (Option("sign_nesterov", bool, False, "Whether to look ahead."),),
    },
)
KINDS = (ESTIMATING, AVERAGING, SIGN)


class Base(SmallBase):
    """The small base with a layer that is large enough for the 8-bit states of bitsandbytes."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            layers = (nn.Conv2d(4, 64, 1), nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 4, 1))
            self.unet = nn.Sequential(*layers).requires_grad_(False)


def main(options: dict[str, Any], last_step: int) -> None:
    """Train with one of these optimizers, and kill this process after a step."""
    for kind in KINDS:
        register_optimizer(kind)

    class Killer(Watcher):
        def after_step(self, run: Run, report: StepReport) -> None:
            if report.step == last_step:
                os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))

    torch.set_num_threads(1)
    train(build_config([OptionSource("test", options)]), Base(), Killer())


if __name__ == "__main__":
    from tests.training import outside_optimizers  # classes are told by the module's name

    outside_optimizers.main(json.loads(sys.argv[1]), int(sys.argv[2]))
