"""Learning rate schedules, under the names of transformers and sd-scripts.

The learning rate is a function of the step alone: nothing of a schedule needs to be saved, and a
run that continues has the rates of one that never stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

from lycoris_ext.errors import ConfigError

POLYNOMIAL_END = 1e-7
"""The learning rate that transformers' polynomial schedule ends at."""
INVERSE_SQRT_TIMESCALE = 10_000
"""transformers' timescale of inverse_sqrt where neither it nor a warm-up is given."""


@dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate changes over the run.

    Args:
        lr_scheduler: "constant", "constant_with_warmup", "linear", "cosine",
            "cosine_with_restarts", "cosine_with_min_lr", "polynomial", "rex", "inverse_sqrt" or
            "warmup_stable_decay".
        lr_warmup_steps: steps of rising rate; below 1: that share of all steps.
        lr_decay_steps: steps of falling rate at the end of warmup_stable_decay; below 1: that share
            of all steps.
        lr_scheduler_num_cycles: how often cosine_with_restarts starts again; half waves of
            cosine_with_min_lr and warmup_stable_decay.
        lr_scheduler_power: exponent of polynomial; 1 is linear.
        lr_scheduler_timescale: steps after which inverse_sqrt has fallen to 0.7 (unset: the
            warm-up, or 10000).
        lr_scheduler_min_lr_ratio: share of the rate that cosine_with_min_lr and
            warmup_stable_decay end at.
    """

    lr_scheduler: str = "constant"
    lr_warmup_steps: float = 0
    lr_decay_steps: float = 0
    lr_scheduler_num_cycles: int = 1
    lr_scheduler_power: float = 1.0
    lr_scheduler_timescale: int | None = None
    lr_scheduler_min_lr_ratio: float | None = None

    def __post_init__(self) -> None:
        if self.lr_scheduler not in SHAPES:
            raise ConfigError(
                f"lr_scheduler {self.lr_scheduler!r} is not supported",
                where="lr_scheduler",
                fix="use one of " + ", ".join(SHAPES),
            )
        for name, good, expected in (
            ("lr_warmup_steps", 0 <= self.lr_warmup_steps < math.inf, "0 or more"),
            ("lr_decay_steps", 0 <= self.lr_decay_steps < math.inf, "0 or more"),
            ("lr_scheduler_num_cycles", self.lr_scheduler_num_cycles >= 1, "1 or more"),
            ("lr_scheduler_power", 0 < self.lr_scheduler_power < math.inf, "above 0"),
            ("lr_scheduler_timescale", (self.lr_scheduler_timescale or 1) >= 1, "1 or more"),
            (
                "lr_scheduler_min_lr_ratio",
                0 <= (self.lr_scheduler_min_lr_ratio or 0) <= 1,
                "a share from 0 to 1",
            ),
        ):
            if not good:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}, expected {expected}",
                    where=name,
                    fix=f"change {name}",
                )
        self._check_combination()

    def _check_combination(self) -> None:
        for field in fields(self):
            users = USED_BY.get(field.name)
            if users and self.lr_scheduler not in users:
                value = getattr(self, field.name)
                if value != field.default:
                    raise ConfigError(
                        f'{field.name} is {value}, but lr_scheduler "{self.lr_scheduler}" has no '
                        f"{MEANING[field.name]}",
                        where="lr_scheduler",
                        fix=f"remove {field.name}, or use lr_scheduler = "
                        + " or ".join(f'"{name}"' for name in users),
                    )
        for name, scheduler in REQUIRED:
            if self.lr_scheduler == scheduler and not getattr(self, name):
                raise ConfigError(
                    f'lr_scheduler "{scheduler}" needs {name}',
                    where=name,
                    fix=f"set {name} = 0.1, or choose another lr_scheduler",
                )

    @property
    def depends_on_length(self) -> bool:
        """Whether a longer run has other learning rates from the start."""
        return (
            self.lr_scheduler not in ("constant", "constant_with_warmup", "inverse_sqrt")
            or 0 < self.lr_warmup_steps < 1
        )

    def warmup_steps(self, total_steps: int) -> int:
        """Warm-up in steps; a share is taken of the total."""
        return _in_steps(self.lr_warmup_steps, total_steps)

    def decay_steps(self, total_steps: int) -> int:
        """Length of the final decay in steps; a share is taken of the total."""
        return _in_steps(self.lr_decay_steps, total_steps)


def learning_rate_factor(
    config: ScheduleConfig, step: int, total_steps: int, learning_rate: float = 1.0
) -> float:
    """What the learning rates are multiplied by in a step, as sd-scripts (transformers) does it.

    Args:
        config: scheduler and its settings.
        step: counted from 0: the first step of a warm-up has rate 0.
        total_steps: of the whole run.
        learning_rate: the run's; polynomial alone looks at it, since it ends at a fixed rate.

    Returns:
        A number from 0 to 1.
    """
    if config.lr_scheduler == "constant":
        return 1.0
    warmup = config.warmup_steps(total_steps)
    if step < warmup:
        rising = step / max(1, warmup)
        return _floored(config, rising) if config.lr_scheduler in _FLOORED_WARMUP else rising
    span = Span(config, step - warmup, total_steps - warmup, warmup, total_steps, learning_rate)
    return max(0.0, SHAPES[config.lr_scheduler](span))


@dataclass(frozen=True)
class Span:
    """Where a step lies behind the warm-up.

    Args:
        config: the schedule's settings.
        done: steps since the warm-up.
        length: steps from the warm-up to the end of the run.
        warmup, total: in steps.
        learning_rate: the run's.
    """

    config: ScheduleConfig
    done: int
    length: int
    warmup: int
    total: int
    learning_rate: float

    @property
    def progress(self) -> float:
        """From 0 at the end of the warm-up to 1 at the end of the run."""
        return min(1.0, self.done / max(1, self.length))


def _flat(at: Span) -> float:
    return 1.0


def _linear(at: Span) -> float:
    return 1.0 - at.progress


def _cosine(at: Span) -> float:
    return _half_wave(at.progress)


def _cosine_with_restarts(at: Span) -> float:
    """Loshchilov & Hutter 2017, arXiv:1608.03983."""
    if at.progress >= 1.0:
        return 0.0
    return _half_wave(at.config.lr_scheduler_num_cycles * at.progress % 1.0)


def _cosine_with_min_lr(at: Span) -> float:
    return _floored(at.config, _half_wave(at.config.lr_scheduler_num_cycles * at.progress))


def _polynomial(at: Span) -> float:
    end = min(1.0, POLYNOMIAL_END / at.learning_rate) if at.learning_rate else 0.0
    return (1.0 - end) * (1.0 - at.progress) ** at.config.lr_scheduler_power + end


def _rex(at: Span) -> float:
    """Reflected exponential: Chen, Wolfe & Kyrillidis 2021, arXiv:2107.04197, eq. 1."""
    left = 1.0 - at.progress
    return left / (0.5 + 0.5 * left)


def _inverse_sqrt(at: Span) -> float:
    scale = at.config.lr_scheduler_timescale or at.warmup or INVERSE_SQRT_TIMESCALE
    return math.sqrt(scale / (at.done + scale))


def _warmup_stable_decay(at: Span) -> float:
    """Hu et al. 2024, arXiv:2404.06395, section 4.2; with transformers' cosine decay."""
    decay = at.config.decay_steps(at.total)
    falling = at.done - (at.length - decay)
    if falling < 0:
        return 1.0
    return _floored(
        at.config, _half_wave(at.config.lr_scheduler_num_cycles * falling / max(1, decay))
    )


SHAPES: dict[str, Callable[[Span], float]] = {
    "constant": _flat,
    "constant_with_warmup": _flat,
    "linear": _linear,
    "cosine": _cosine,
    "cosine_with_restarts": _cosine_with_restarts,
    "cosine_with_min_lr": _cosine_with_min_lr,
    "polynomial": _polynomial,
    "rex": _rex,
    "inverse_sqrt": _inverse_sqrt,
    "warmup_stable_decay": _warmup_stable_decay,
}
"""lr_scheduler -> its course behind the warm-up, from 1 downwards."""

_FLOORED_WARMUP = ("warmup_stable_decay",)
"""Whose warm-up rises from the lowest rate instead of 0."""

USED_BY: dict[str, tuple[str, ...]] = {
    "lr_warmup_steps": tuple(name for name in SHAPES if name != "constant"),
    "lr_decay_steps": ("warmup_stable_decay",),
    "lr_scheduler_num_cycles": (
        "cosine_with_restarts",
        "cosine_with_min_lr",
        "warmup_stable_decay",
    ),
    "lr_scheduler_power": ("polynomial",),
    "lr_scheduler_timescale": ("inverse_sqrt",),
    "lr_scheduler_min_lr_ratio": ("cosine_with_min_lr", "warmup_stable_decay"),
}
"""Option -> the schedulers that look at it."""

MEANING = {
    "lr_warmup_steps": "warm-up",
    "lr_decay_steps": "final decay",
    "lr_scheduler_num_cycles": "cycles",
    "lr_scheduler_power": "exponent",
    "lr_scheduler_timescale": "timescale",
    "lr_scheduler_min_lr_ratio": "lowest rate",
}

REQUIRED = (
    ("lr_scheduler_min_lr_ratio", "cosine_with_min_lr"),
    ("lr_decay_steps", "warmup_stable_decay"),
)


def _in_steps(value: float, total_steps: int) -> int:
    return int(value * total_steps) if 0 < value < 1 else int(value)


def _half_wave(progress: float) -> float:
    """From 1 at 0 to 0 at 1, and back up at 2."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _floored(config: ScheduleConfig, factor: float) -> float:
    low = config.lr_scheduler_min_lr_ratio or 0.0
    return low + (1.0 - low) * factor
