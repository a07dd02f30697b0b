"""Learning rate schedules, under the names of transformers and sd-scripts.

The learning rate is a function of the step alone: nothing of a schedule needs to be saved, and a
run that continues has the rates of one that never stopped.

Each schedule is one class: the options that it reads, and its formula.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.options import Option, Section, option, options_of

POLYNOMIAL_END = 1e-7
"""The learning rate that transformers' polynomial schedule ends at."""
INVERSE_SQRT_TIMESCALE = 10_000
"""transformers' timescale of inverse_sqrt where neither it nor a warm-up is given."""


@dataclass(frozen=True)
class Span:
    """Where a step lies behind the warm-up.

    Args:
        done: steps since the warm-up.
        length: steps from the warm-up to the end of the run.
        warmup, total: in steps.
        learning_rate: the run's.
    """

    done: int
    length: int
    warmup: int
    total: int
    learning_rate: float

    @property
    def progress(self) -> float:
        """From 0 at the end of the warm-up to 1 at the end of the run."""
        return min(1.0, self.done / max(1, self.length))


@dataclass(frozen=True, init=False)
class Schedule(Section):
    """Base of all schedules.

    Attributes:
        follows_length: its formula has other values in a longer run.
    """

    follows_length: ClassVar[bool] = True

    @property
    def depends_on_length(self) -> bool:
        """Whether a longer run has other learning rates from the start."""
        return self.follows_length

    def warmup(self, total: int) -> int:
        """Steps of rising rate at the start of a run of so many steps."""
        return 0

    def rising(self, share: float) -> float:
        """What the learning rate is multiplied by in the warm-up, ``share`` of which is over."""
        return share

    def factor(self, at: Span) -> float:
        """What the learning rate is multiplied by behind the warm-up, from 1 downwards."""
        raise TypeError(f"{type(self).__name__} has no formula")


@dataclass(frozen=True, init=False)
class Constant(Schedule):
    follows_length: ClassVar[bool] = False

    def factor(self, at: Span) -> float:
        return 1.0


@dataclass(frozen=True, init=False)
class WarmedUp(Schedule):
    """Base of those that may begin with a warm-up."""

    lr_warmup_steps: float = option(
        0,
        "Steps in which the learning rate rises from 0 to its full value; a number below 1 is a "
        "share of all steps. 0: no warm-up.",
        low=0,
    )

    @property
    def depends_on_length(self) -> bool:
        return self.follows_length or 0 < self.lr_warmup_steps < 1

    def warmup(self, total: int) -> int:
        return _in_steps(self.lr_warmup_steps, total)


@dataclass(frozen=True, init=False)
class ConstantWithWarmup(WarmedUp):
    follows_length: ClassVar[bool] = False

    def factor(self, at: Span) -> float:
        return 1.0


@dataclass(frozen=True, init=False)
class Linear(WarmedUp):
    def factor(self, at: Span) -> float:
        return 1.0 - at.progress


@dataclass(frozen=True, init=False)
class Cosine(WarmedUp):
    def factor(self, at: Span) -> float:
        return _half_wave(at.progress)


@dataclass(frozen=True, init=False)
class InCycles(WarmedUp):
    """Base of those that fall more than once."""

    lr_scheduler_num_cycles: int = option(
        1,
        "How often cosine_with_restarts starts again from the full learning rate; for "
        "cosine_with_min_lr and warmup_stable_decay the number of half waves: 2 falls and rises.",
        low=1,
    )


@dataclass(frozen=True, init=False)
class CosineWithRestarts(InCycles):
    """Loshchilov & Hutter 2017, arXiv:1608.03983."""

    def factor(self, at: Span) -> float:
        if at.progress >= 1.0:
            return 0.0
        return _half_wave(self.lr_scheduler_num_cycles * at.progress % 1.0)


@dataclass(frozen=True, init=False)
class WithLowestRate(InCycles):
    """Base of those that do not fall to 0."""

    lr_scheduler_min_lr_ratio: float | None = option(
        None,
        "The lowest learning rate that cosine_with_min_lr and warmup_stable_decay fall to, as a "
        "share of the full one.",
        unset="0 for warmup_stable_decay; cosine_with_min_lr needs a value",
        low=0,
        high=1,
    )

    def above_lowest(self, factor: float) -> float:
        """From 0..1 to lowest..1."""
        low = self.lr_scheduler_min_lr_ratio or 0.0
        return low + (1.0 - low) * factor


@dataclass(frozen=True, init=False)
class CosineWithMinLr(WithLowestRate):
    def contradictions(self) -> Iterator[LycorisExtError]:
        if not self.lr_scheduler_min_lr_ratio:
            yield _missing("cosine_with_min_lr", "lr_scheduler_min_lr_ratio")

    def factor(self, at: Span) -> float:
        return self.above_lowest(_half_wave(self.lr_scheduler_num_cycles * at.progress))


@dataclass(frozen=True, init=False)
class Polynomial(WarmedUp):
    lr_scheduler_power: float = option(
        1.0, "Exponent of the polynomial that the learning rate falls along; 1: a line.", above=0
    )

    def factor(self, at: Span) -> float:
        end = min(1.0, POLYNOMIAL_END / at.learning_rate) if at.learning_rate else 0.0
        return (1.0 - end) * (1.0 - at.progress) ** self.lr_scheduler_power + end


@dataclass(frozen=True, init=False)
class Rex(WarmedUp):
    """Reflected exponential: Chen, Wolfe & Kyrillidis 2021, arXiv:2107.04197, eq. 1."""

    def factor(self, at: Span) -> float:
        left = 1.0 - at.progress
        return left / (0.5 + 0.5 * left)


@dataclass(frozen=True, init=False)
class InverseSqrt(WarmedUp):
    follows_length: ClassVar[bool] = False
    lr_scheduler_timescale: int | None = option(
        None,
        "Steps behind the warm-up after which the learning rate of inverse_sqrt has fallen to 0.7.",
        unset="as many as the warm-up has, or 10000 without one",
        low=1,
    )

    def factor(self, at: Span) -> float:
        scale = self.lr_scheduler_timescale or at.warmup or INVERSE_SQRT_TIMESCALE
        return math.sqrt(scale / (at.done + scale))


@dataclass(frozen=True, init=False)
class WarmupStableDecay(WithLowestRate):
    """Hu et al. 2024, arXiv:2404.06395, section 4.2; with transformers' cosine decay."""

    lr_decay_steps: float = option(
        0,
        "Steps at the end of the run in which the learning rate of warmup_stable_decay falls; a "
        "number below 1 is a share of all steps.",
        low=0,
    )

    def contradictions(self) -> Iterator[LycorisExtError]:
        if not self.lr_decay_steps:
            yield _missing("warmup_stable_decay", "lr_decay_steps")

    def rising(self, share: float) -> float:
        return self.above_lowest(share)

    def factor(self, at: Span) -> float:
        decay = _in_steps(self.lr_decay_steps, at.total)
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
}


@dataclass(frozen=True, init=False)
class ScheduleConfig(Section):
    """How the learning rate changes over the run."""

    lr_scheduler: str = option(
        "constant",
        "How the learning rate changes over the run: constant keeps it; linear, cosine, polynomial "
        "and rex fall to 0 at the end of the run; cosine_with_restarts does so again and again; "
        "cosine_with_min_lr falls to a lowest rate; inverse_sqrt falls ever more slowly; "
        "warmup_stable_decay stays and falls at the end. All but constant may have a warm-up.",
        choices=tuple(SCHEDULES),
    )

    @classmethod
    def kind_options(cls) -> Iterable[Option]:
        return options_of({name: kind.options().values() for name, kind in SCHEDULES.items()})

    def contradictions(self) -> Iterator[LycorisExtError]:
        yield from self.unread("lr_scheduler")
        try:
            _ = self.schedule
        except LycorisExtError as error:
            yield error

    @property
    def chosen_kind(self) -> str:
        return self.lr_scheduler

    @cached_property
    def schedule(self) -> Schedule:
        """The schedule that lr_scheduler names, with its options."""
        return SCHEDULES[self.lr_scheduler].taken_from(self)

    @property
    def depends_on_length(self) -> bool:
        """Whether a longer run has other learning rates from the start."""
        return self.schedule.depends_on_length


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


def _in_steps(value: float, total_steps: int) -> int:
    return int(value * total_steps) if 0 < value < 1 else int(value)


def _half_wave(progress: float) -> float:
    """From 1 at 0 to 0 at 1, and back up at 2."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))
