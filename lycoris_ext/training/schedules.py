"""Learning rate schedules, under the names that transformers and sd-scripts give them.

The learning rate is computed from the number of the step alone. So a saved run needs no state of a
schedule, and a continued run has the same rates as one that was never stopped.

Each schedule is one class with the options that it reads and its formula. lr_scheduler_type names a
class of another package instead (``class_schedule``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.options import Option, Section, option, options_of
from lycoris_ext.training.piecewise import PiecewiseConstant
from lycoris_ext.training.schedule_base import Schedule, Span

POLYNOMIAL_END = 1e-7
"""The learning rate at the end of transformers' polynomial schedule."""
INVERSE_SQRT_TIMESCALE = 10_000
"""Default timescale of inverse_sqrt in transformers, if there is no warm-up."""


@dataclass(frozen=True, init=False)
class Constant(Schedule):
    """The learning rate stays the same."""

    follows_length: ClassVar[bool] = False

    def factor(self, at: Span) -> float:
        return 1.0


@dataclass(frozen=True, init=False)
class OfAdafactor(Constant):
    """The learning rate is that which Adafactor sets itself."""


@dataclass(frozen=True, init=False)
class WarmedUp(Schedule):
    """Base of the schedules that can begin with a warm-up."""

    lr_warmup_steps: float = option(
        0,
        "Warm-up: number of steps at the start of the run in which the learning rate rises from 0 "
        "to its full value; a number below 1 is a share of all steps. 0: no warm-up.",
        low=0,
    )

    @property
    def depends_on_length(self) -> bool:
        return self.follows_length or 0 < self.lr_warmup_steps < 1

    def warmup(self, total: int) -> int:
        return in_steps(self.lr_warmup_steps, total)


@dataclass(frozen=True, init=False)
class ConstantWithWarmup(WarmedUp):
    """The learning rate stays the same after a warm-up."""

    follows_length: ClassVar[bool] = False

    def factor(self, at: Span) -> float:
        return 1.0


@dataclass(frozen=True, init=False)
class Linear(WarmedUp):
    """The learning rate falls along a straight line to 0."""

    def factor(self, at: Span) -> float:
        return 1.0 - at.progress


@dataclass(frozen=True, init=False)
class Cosine(WarmedUp):
    """The learning rate falls along half a cosine wave to 0."""

    def factor(self, at: Span) -> float:
        return _half_wave(at.progress)


@dataclass(frozen=True, init=False)
class InCycles(WarmedUp):
    """Base of the schedules whose rate can fall several times."""

    lr_scheduler_num_cycles: int = option(
        1,
        "For cosine_with_restarts the number of times that the learning rate falls from its full "
        "value to 0; for cosine_with_min_lr and warmup_stable_decay the number of half cosine "
        "waves: with 2 the rate falls and rises again.",
        low=1,
    )


@dataclass(frozen=True, init=False)
class CosineWithRestarts(InCycles):
    """The rate falls to 0 and starts again; Loshchilov & Hutter 2017, arXiv:1608.03983."""

    def factor(self, at: Span) -> float:
        if at.progress >= 1.0:
            return 0.0
        return _half_wave(self.lr_scheduler_num_cycles * at.progress % 1.0)


@dataclass(frozen=True, init=False)
class WithLowestRate(InCycles):
    """Base of the schedules that fall to a lowest rate instead of 0."""

    lr_scheduler_min_lr_ratio: float | None = option(
        None,
        "Lowest learning rate to which cosine_with_min_lr and warmup_stable_decay fall, as a share "
        "of the full learning rate.",
        unset="0 for warmup_stable_decay; cosine_with_min_lr needs a value",
        low=0,
        high=1,
    )

    def above_lowest(self, factor: float) -> float:
        """Map a factor from the range 0..1 to the range lowest..1."""
        low = self.lr_scheduler_min_lr_ratio or 0.0
        return low + (1.0 - low) * factor


@dataclass(frozen=True, init=False)
class CosineWithMinLr(WithLowestRate):
    """The learning rate falls along half a cosine wave to a lowest rate."""

    def contradictions(self) -> Iterator[LycorisExtError]:
        if not self.lr_scheduler_min_lr_ratio:
            yield _missing("cosine_with_min_lr", "lr_scheduler_min_lr_ratio")

    def factor(self, at: Span) -> float:
        return self.above_lowest(_half_wave(self.lr_scheduler_num_cycles * at.progress))


@dataclass(frozen=True, init=False)
class Polynomial(WarmedUp):
    """The learning rate falls along a polynomial to ``POLYNOMIAL_END``."""

    lr_scheduler_power: float = option(
        1.0,
        "Exponent of the polynomial along which the learning rate falls; 1: a straight line.",
        above=0,
    )

    def factor(self, at: Span) -> float:
        end = min(1.0, POLYNOMIAL_END / at.learning_rate) if at.learning_rate else 0.0
        return (1.0 - end) * (1.0 - at.progress) ** self.lr_scheduler_power + end


@dataclass(frozen=True, init=False)
class Rex(WarmedUp):
    """The rate falls to 0, ever faster; Chen, Wolfe & Kyrillidis 2021, arXiv:2107.04197, eq. 1."""

    def factor(self, at: Span) -> float:
        left = 1.0 - at.progress
        return left / (0.5 + 0.5 * left)


@dataclass(frozen=True, init=False)
class InverseSqrt(WarmedUp):
    """The learning rate falls as 1 / sqrt(steps), ever more slowly."""

    follows_length: ClassVar[bool] = False
    lr_scheduler_timescale: int | None = option(
        None,
        "Number of steps after the warm-up in which the learning rate of inverse_sqrt falls to 0.7 "
        "times its full value.",
        unset="the number of warm-up steps, or 10000 without a warm-up",
        low=1,
    )

    def factor(self, at: Span) -> float:
        scale = self.lr_scheduler_timescale or at.warmup or INVERSE_SQRT_TIMESCALE
        return math.sqrt(scale / (at.done + scale))


@dataclass(frozen=True, init=False)
class WarmupStableDecay(WithLowestRate):
    """The rate is constant and falls at the end; Hu et al. 2024, arXiv:2404.06395, section 4.2.

    It falls along a cosine wave, as in transformers.
    """

    lr_decay_steps: float = option(
        0,
        "Number of steps at the end of the run in which the learning rate of warmup_stable_decay "
        "falls; a number below 1 is a share of all steps.",
        low=0,
    )

    def contradictions(self) -> Iterator[LycorisExtError]:
        if not self.lr_decay_steps:
            yield _missing("warmup_stable_decay", "lr_decay_steps")

    def rising(self, share: float) -> float:
        return self.above_lowest(share)

    def factor(self, at: Span) -> float:
        decay = in_steps(self.lr_decay_steps, at.total)
        falling = at.done - (at.length - decay)
        if falling < 0:
            return 1.0
        return self.above_lowest(_half_wave(self.lr_scheduler_num_cycles * falling / max(1, decay)))


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "constant_with_warmup": ConstantWithWarmup,
    "linear": Linear,
    "cosine": Cosine,
    "cosine_with_restarts": CosineWithRestarts,
    "cosine_with_min_lr": CosineWithMinLr,
    "polynomial": Polynomial,
    "rex": Rex,
    "inverse_sqrt": InverseSqrt,
    "warmup_stable_decay": WarmupStableDecay,
    "piecewise_constant": PiecewiseConstant,
    "adafactor": OfAdafactor,
}


@dataclass(frozen=True, init=False)
class ScheduleConfig(Section):
    """How the learning rate changes over the run."""

    lr_scheduler: str = option(
        "constant",
        "How the learning rate changes over the run: constant and constant_with_warmup keep it; "
        "linear, cosine, polynomial and rex fall to 0 at the end of the run; cosine_with_restarts "
        "falls to 0 several times; cosine_with_min_lr falls to a lowest rate; inverse_sqrt falls "
        "ever more slowly; warmup_stable_decay keeps it and falls at the end; piecewise_constant "
        "multiplies it by a list of factors; adafactor leaves it to the optimizer Adafactor. All "
        "but constant and the last two can begin with a warm-up.",
        choices=tuple(SCHEDULES),
    )
    lr_scheduler_type: str | None = option(
        None,
        "The class of another scheduler in place of lr_scheduler: the name of one in "
        "torch.optim.lr_scheduler, such as CosineAnnealingLR, or a dotted path.",
        unset="lr_scheduler decides",
        read=lambda value: None if value == "" else value,
    )
    lr_scheduler_args: tuple[str, ...] = option(
        (),
        'What the class in lr_scheduler_type takes, as "name=value", such as "T_max=1000" and '
        '"eta_min=1e-5" for CosineAnnealingLR.',
    )

    @classmethod
    def kind_options(cls) -> Iterable[Option]:
        return options_of({name: kind.options().values() for name, kind in SCHEDULES.items()})

    def contradictions(self) -> Iterator[LycorisExtError]:
        if self.lr_scheduler_type is not None:
            yield from self.unread("lr_scheduler_type")
            return
        yield from self.unread("lr_scheduler")
        if self.lr_scheduler_args:
            yield ConfigError(
                f"lr_scheduler_args is {list(self.lr_scheduler_args)}, and lr_scheduler_type, "
                "whose arguments these are, is unset",
                where="lr_scheduler_args",
                fix="set lr_scheduler_type, or remove lr_scheduler_args",
            )
        try:
            _ = self.schedule
        except LycorisExtError as error:
            yield error

    @property
    def chosen_kind(self) -> str:
        return self.lr_scheduler_type or self.lr_scheduler

    @cached_property
    def schedule(self) -> Schedule:
        """The chosen schedule, with the options that it reads."""
        return SCHEDULES[self.lr_scheduler].taken_from(self)

    @property
    def depends_on_length(self) -> bool:
        """Whether the learning rates change, from the start, if the run is made longer.

        A class in lr_scheduler_type does not know how long the run is.
        """
        return self.lr_scheduler_type is None and self.schedule.depends_on_length


def learning_rate_factor(
    config: ScheduleConfig, step: int, total_steps: int, learning_rate: float = 1.0
) -> float:
    """Return the factor by which lr_scheduler multiplies all learning rates in a step.

    The values are those of transformers' and diffusers' schedules, which sd-scripts uses.

    Args:
        config: the schedule and its options.
        step: number of the step, counted from 0; the first step of a warm-up has factor 0.
        total_steps: of the whole run.
        learning_rate: of the run; only polynomial needs it, because it ends at a fixed rate.

    Returns:
        0 or more; 1 at the full rate.
    """
    schedule = config.schedule
    warmup = schedule.warmup(total_steps)
    if step < warmup:
        return schedule.rising(step / max(1, warmup))
    span = Span(step - warmup, total_steps - warmup, warmup, total_steps, learning_rate)
    return max(0.0, schedule.factor(span))


def _missing(scheduler: str, name: str) -> ConfigError:
    return ConfigError(
        f'lr_scheduler "{scheduler}" needs {name}',
        where=name,
        fix=f"set {name} = 0.1, or choose another lr_scheduler",
    )


def in_steps(value: float, total_steps: int) -> int:
    """Return a number of steps, of which a value between 0 and 1 is a share."""
    return int(value * total_steps) if 0 < value < 1 else int(value)


def _half_wave(progress: float) -> float:
    """Return a cosine that is 1 at progress 0, 0 at progress 1, and 1 again at progress 2."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))
