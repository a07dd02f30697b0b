"""The optimizers that users can choose, with one entry for each; no other module names them.

A new optimizer is one more entry:

    register_optimizer(
        OptimizerKind(
            name="Rprop",
            summary="Resilient backpropagation.",
            class_path="torch.optim.rprop.Rprop",
            state_bytes=8,
        )
    )

Users choose it by its name, in files, on flags and on ComfyUI's Optimizer node, and set what its
class takes by optimizer_args. An argument can also be declared as an option of its own
(``arguments``). tests/training/test_optimizer_kinds.py trains with every entry, kills the run and
resumes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lycoris_ext.options import Option, options_of
from lycoris_ext.training import optimizer_factories
from lycoris_ext.training.optimizer_kind import FALLBACK, Groups, OptimizerKind, fallback_advice

__all__ = [
    "DEFAULT_OPTIMIZER",
    "Groups",
    "OptimizerKind",
    "as_known",
    "fallback_advice",
    "fallback_optimizer",
    "optimizer_kind",
    "optimizer_kinds",
    "optimizer_names",
    "optimizer_options",
    "register_optimizer",
]

DEFAULT_OPTIMIZER = "AdamW8bit"
"""The value of optimizer_type where nobody sets it."""
UNKNOWN_STATE = 8.0
"""Bytes of state for each trained number that are expected of a class that is named by its path."""

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
    """Return the optimizer of a name, or the one whose class a dotted path names.

    Args:
        name: one of ``optimizer_names()``, or the dotted path of any other optimizer's class.
    """
    if name in _KINDS or "." not in name:
        return _KINDS[name]
    return OptimizerKind(name, "An optimizer of another package.", name, UNKNOWN_STATE)


def as_known(name: object) -> object:
    """Return the name of the optimizer whose class a dotted path names; anything else as it is."""
    if not isinstance(name, str) or "." not in name:
        return name
    ends = (name.partition(".")[0], name.rpartition(".")[2])
    for kind in _KINDS.values():
        path = kind.class_path
        if not kind.settings and ends == (path.partition(".")[0], path.rpartition(".")[2]):
            return kind.name
    return name


def optimizer_options() -> Sequence[Option]:
    """Return the options of all optimizers, each once, with the names of those that read it."""
    return options_of({name: kind.options for name, kind in _KINDS.items()})


def fallback_optimizer() -> str:
    """Return the name of an optimizer that needs no other package."""
    return FALLBACK


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
        class_path="bitsandbytes.optim.adamw.AdamW8bit",
        state_bytes=2,
        arguments=_ADAMW,
        switch="use_8bit_adam",
        package="bitsandbytes",
    )
)
register_optimizer(
    OptimizerKind(
        name="AdamW",
        summary="Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101).",
        class_path="torch.optim.adamw.AdamW",
        state_bytes=8,
        arguments=_ADAMW,
    )
)
register_optimizer(
    OptimizerKind(
        name="Adam",
        summary="AdamW without weight decay (Kingma & Ba 2015, arXiv:1412.6980).",
        class_path="torch.optim.adam.Adam",
        state_bytes=8,
        arguments={name: _ADAMW[name] for name in ("betas", "eps")},
    )
)
register_optimizer(
    OptimizerKind(
        name="SGD",
        summary="Gradient descent with momentum; it needs far higher learning rates than AdamW.",
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


_FACTOR = (0.1, 10.0)
"""Usual learning rates of optimizers that find the rate themselves: factors of about 1."""
_D_ADAPTATION: dict[str, Any] = {
    "one_rate": True,
    "finds_rate": True,
    "rates": _FACTOR,
    "package": "dadaptation",
}
_SCHEDULE_FREE: dict[str, Any] = {"needs_no_schedule": True, "package": "schedulefree"}
_BITS: dict[str, Any] = {"package": "bitsandbytes"}

for _kind in (
    # bitsandbytes
    OptimizerKind(
        "PagedAdamW8bit",
        "AdamW8bit whose state moves to the computer's memory if a GPU's is full.",
        "bitsandbytes.optim.adamw.PagedAdamW8bit", 2, optimizer_factories.paged("AdamW8bit"),
        arguments=_ADAMW, **_BITS,
    ),
    OptimizerKind(
        "PagedAdamW", "AdamW whose state moves to the computer's memory if a GPU's is full.",
        "bitsandbytes.optim.adamw.PagedAdamW", 8, optimizer_factories.paged("AdamW"),
        arguments=_ADAMW, **_BITS,
    ),
    OptimizerKind(
        "PagedAdamW32bit", "Another name of PagedAdamW.",
        "bitsandbytes.optim.adamw.PagedAdamW32bit", 8, optimizer_factories.paged("AdamW32bit"),
        arguments=_ADAMW, **_BITS,
    ),
    OptimizerKind(
        "Lion8bit", "Lion with its running average in 8 bits.",
        "bitsandbytes.optim.lion.Lion8bit", 1, rates=(1e-7, 1e-3), **_BITS,
    ),
    OptimizerKind(
        "PagedLion8bit", "Lion8bit whose state moves to the computer's memory if a GPU's is full.",
        "bitsandbytes.optim.lion.PagedLion8bit", 1, optimizer_factories.paged("Lion8bit"),
        rates=(1e-7, 1e-3), **_BITS,
    ),
    OptimizerKind(
        "SGDNesterov8bit", "Gradient descent with Nesterov's momentum, which is kept in 8 bits.",
        "bitsandbytes.optim.sgd.SGD8bit", 1,
        settings={"momentum": 0.9, "nesterov": True}, **_BITS,
    ),
    OptimizerKind(
        "AdEMAMix8bit", "AdamW with a second, far slower average of gradients, all in 8 bits "
        "(Pagliardini et al. 2024, arXiv:2409.03137).",
        "bitsandbytes.optim.ademamix.AdEMAMix8bit", 3, **_BITS,
    ),
    OptimizerKind(
        "PagedAdEMAMix8bit", "AdEMAMix8bit whose state moves to the computer's memory if a GPU's "
        "is full.",
        "bitsandbytes.optim.ademamix.PagedAdEMAMix8bit", 3,
        optimizer_factories.paged("AdEMAMix8bit"), **_BITS,
    ),
    # The learning rate is found.
    OptimizerKind(
        "Prodigy", "AdamW that finds its learning rate, the same for all that is trained "
        "(Mishchenko & Defazio 2023, arXiv:2306.06101).",
        "prodigyopt.prodigy.Prodigy", 16, one_rate=True, finds_rate=True, rates=_FACTOR,
        warm_up_needs="safeguard_warmup=True", package="prodigyopt",
    ),
    OptimizerKind(
        "ProdigyPlusScheduleFree", "Prodigy with a rate of its own for the U-Net and each text "
        "encoder, an average of the weights in place of a schedule, and a smaller state.",
        "prodigyplus.prodigy_plus_schedulefree.ProdigyPlusScheduleFree", 5, finds_rate=True,
        rates=_FACTOR, needs_no_schedule=True, package="prodigy-plus-schedule-free",
        hints=("ProdigyPlusScheduleFree bounds its steps itself: set max_grad_norm = 0",),
    ),
    OptimizerKind(
        "DAdaptation", "Adam that finds its learning rate, as in D-Adaptation's preprint, which "
        "sd-scripts also calls DAdaptAdamPreprint (Defazio & Mishchenko 2023, arXiv:2301.07733).",
        "dadaptation.experimental.dadapt_adam_preprint.DAdaptAdamPreprint", 12, **_D_ADAPTATION,
    ),
    OptimizerKind(
        "DAdaptAdam", "Adam that finds its learning rate; D-Adaptation's final form.",
        "dadaptation.dadapt_adam.DAdaptAdam", 12, **_D_ADAPTATION,
    ),
    OptimizerKind(
        "DAdaptAdaGrad", "AdaGrad that finds its learning rate.",
        "dadaptation.dadapt_adagrad.DAdaptAdaGrad", 12, **_D_ADAPTATION,
    ),
    OptimizerKind(
        "DAdaptAdan", "Adan that finds its learning rate.",
        "dadaptation.dadapt_adan.DAdaptAdan", 20, **_D_ADAPTATION,
    ),
    OptimizerKind(
        "DAdaptAdanIP", "Adan that finds its learning rate from inner products.",
        "dadaptation.experimental.dadapt_adan_ip.DAdaptAdanIP", 20, **_D_ADAPTATION,
    ),
    OptimizerKind(
        "DAdaptLion", "Lion that finds its learning rate.",
        "dadaptation.dadapt_lion.DAdaptLion", 8, **_D_ADAPTATION,
    ),
    OptimizerKind(
        "DAdaptSGD", "Gradient descent that finds its learning rate.",
        "dadaptation.dadapt_sgd.DAdaptSGD", 12, **_D_ADAPTATION,
    ),
    # No schedule is needed.
    OptimizerKind(
        "AdamWScheduleFree", "AdamW that averages the weights in place of a schedule (Defazio et "
        "al. 2024, arXiv:2405.15682).",
        "schedulefree.adamw_schedulefree.AdamWScheduleFree", 8, **_SCHEDULE_FREE,
    ),
    OptimizerKind(
        "RAdamScheduleFree", "AdamWScheduleFree that needs no warm-up either.",
        "schedulefree.radam_schedulefree.RAdamScheduleFree", 8, **_SCHEDULE_FREE,
    ),
    OptimizerKind(
        "SGDScheduleFree", "Gradient descent that averages the weights in place of a schedule.",
        "schedulefree.sgd_schedulefree.SGDScheduleFree", 4, **_SCHEDULE_FREE,
    ),
    # Others
    OptimizerKind(
        "Adafactor", "AdamW whose average of squared gradients is kept as one number for each row "
        "and column (Shazeer & Stern 2018, arXiv:1804.04235). Like sd-scripts it sets the rate "
        "itself, unless optimizer_args has relative_step=False.",
        "transformers.optimization.Adafactor", 0.5, optimizer_factories.adafactor,
        own_rate_unless="relative_step=False", package="transformers",
    ),
    OptimizerKind(
        "Lion", "Steps of one size along the sign of an average of gradients; it needs rates 3 to "
        "10 times lower than AdamW's (Chen et al. 2023, arXiv:2302.06675).",
        "pytorch_optimizer.optimizer.lion.Lion", 4, rates=(1e-7, 1e-3), package="pytorch-optimizer",
    ),
    OptimizerKind(
        "CAME", "Adafactor with a measure of how far the average of gradients can be trusted (Luo "
        "et al. 2023, arXiv:2307.02047).",
        "pytorch_optimizer.optimizer.came.CAME", 5, package="pytorch-optimizer",
    ),
    OptimizerKind(
        "Adan", "AdamW that also follows how the gradient changes (Xie et al. 2022, "
        "arXiv:2208.06677).",
        "pytorch_optimizer.optimizer.adan.Adan", 16, package="pytorch-optimizer",
    ),
    OptimizerKind(
        "Muon", "Steps along the orthogonal part of an average of gradients, for the factors that "
        "are matrices; AdamW for all other tensors (Jordan et al. 2024).",
        "pytorch_optimizer.optimizer.muon.muon.Muon", 4, optimizer_factories.muon,
        settings={"use_adjusted_lr": True}, package="pytorch-optimizer",
    ),
):  # fmt: skip
    register_optimizer(_kind)
