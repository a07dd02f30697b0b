"""Trainings that are paused, told to stop, or whose clock is set."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from tests.faults.training_world import (
    COUNTED,
    NAME,
    NEEDS,
    STEPS,
    Break,
    Training,
    at_step,
    undisturbed,
)
from tests.faults.trials import Kind, Trial

_STOPS = [name for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]
_DAY = 86_400.0
_JUMPS = (-5 * _DAY, 40 * 365 * _DAY, -30 * 365 * _DAY)


def _paused(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    chance = random.Random(seed)
    for count in range(number):
        training = Training(folder / str(count))
        process = training.start()
        pauses = 0
        while process.exitcode is None and pauses < 6:
            time.sleep(chance.uniform(0.0, 0.2))
            if process.exitcode is None and process.pid is not None:
                with suppress(ProcessLookupError):  # it has ended just now
                    os.kill(process.pid, signal.SIGSTOP)
                    time.sleep(0.1)
                    os.kill(process.pid, signal.SIGCONT)
                pauses += 1
        bad = training.ended(process).bad(0)
        yield Trial(f"{pauses} pauses", bad or training.differs())


def _told_to_stop(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    chance = random.Random(seed)
    for count in range(number):
        training = Training(folder / str(count))
        name, step = _STOPS[count % len(_STOPS)], chance.randint(1, STEPS - 1)
        told = partial(signal.raise_signal, getattr(signal, name))
        bad = training.run(at_step(step, told)).bad(130)
        if not bad and not (training.out / f"{NAME}-step-{step}.safetensors").exists():
            bad = "the adapter of this step was not saved"
        yield Trial(f"{name} in step {step}", bad or training.resumed())


def _told_while_writing(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    """Before the first step nothing is lost by ending at once, as the system does by itself."""
    chance = random.Random(seed)
    for count in range(number):
        training = Training(folder / str(count))
        name, place = _STOPS[count % len(_STOPS)], chance.choice(COUNTED)
        call, sent = chance.randint(1, undisturbed().calls[place]), getattr(signal, name)
        ended = training.run(Break(place, call, partial(signal.raise_signal, sent)))
        bad = ended.bad(130, -sent, 0)
        yield Trial(f"{name} before call {call} of {place}", bad or training.resumed())


def _clock(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    chance = random.Random(seed)
    for count in range(number):
        training = Training(folder / str(count))
        jump, step = _JUMPS[count % len(_JUMPS)], chance.randint(1, STEPS)
        bad = training.run(at_step(step, partial(_set_clock, jump))).bad(0)
        name = f"by {jump / _DAY:+.0f} days in step {step}"
        yield Trial(name, bad or training.differs())


def _set_clock(seconds: float) -> None:
    """Set the clock that this program reads; that of the system stays as it is."""
    real = time.time
    time.time = lambda: real() + seconds


KINDS = [
    Kind("a training paused (SIGSTOP) six times", _paused, 0, 6, before=(6, 0), needs=NEEDS),
    Kind(
        "a training told to stop (SIGTERM, SIGINT, SIGHUP): it saves, and goes on later",
        _told_to_stop, 1, 9, before=(3, 1), needs=NEEDS,
    ),
    Kind("a training told to stop while it writes", _told_while_writing, 0, 9, needs=NEEDS),
    Kind("the clock set to another year", _clock, 0, 3, before=(1, 0), needs=NEEDS),
]  # fmt: skip
