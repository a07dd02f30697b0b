"""Trainings that are killed, at random moments and in the middle of writing."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.faults.broken_disk import BrokenDisk
from tests.faults.training_world import (
    COUNTED,
    NEEDS,
    Break,
    Training,
    undisturbed,
)
from tests.faults.trials import Kind, Trial

_KILL = partial(signal.raise_signal, getattr(signal, "SIGKILL", signal.SIGTERM))


def _at_random(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    chance = random.Random(seed)
    for count in range(number):
        training = Training(folder / str(count))
        moment = chance.uniform(0.0, undisturbed().seconds)
        process = training.start()
        time.sleep(moment)
        process.kill()
        bad = training.ended(process).bad(-signal.SIGKILL, 0)
        after = training.last_step()
        yield Trial(f"after {moment:.2f} s and {after} steps", bad or training.resumed())


def _at_a_call(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    chance = random.Random(seed)
    for count in range(number):
        training = Training(folder / str(count))
        place = chance.choice(COUNTED)
        call = chance.randint(1, undisturbed().calls[place])
        after = chance.random() < 0.5
        ended = training.run(Break(place, call, _KILL, after=after))
        name = f"{'after' if after else 'before'} call {call} of {place}"
        yield Trial(name, ended.bad(-signal.SIGKILL) or training.resumed())


def _while_writing(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    chance = random.Random(seed)
    for count in range(number):
        training = Training(folder / str(count))
        works = chance.randrange(undisturbed().written)
        ended = training.run(BrokenDisk(training.folder, works, _KILL))
        yield Trial(f"after {works} bytes", ended.bad(-signal.SIGKILL) or training.resumed())


def _again_and_again(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    """Kill one training several times, with loader workers, and restart it on 1 or 2 threads."""
    chance = random.Random(seed)
    training, bad = Training(folder / "run", steps=8 * number, workers=2), ""
    for count in range(number):
        target = training.last_step() + chance.randint(1, 6)
        threads = chance.choice((1, 2)) if training.last_step() else 1
        process = training.start(threads=threads)
        while process.exitcode is None and training.last_step() < target:
            time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 0.5))
        process.kill()
        bad = bad or training.ended(process).bad(-signal.SIGKILL, 0)
        if count == number - 1:
            bad = bad or training.resumed()
        yield Trial(f"kill {count + 1} after step {training.last_step()}", bad)


KINDS = [
    Kind(
        "a training killed (SIGKILL) at a random moment",
        _at_random, 1, 15, before=(15, 0), needs=NEEDS,
    ),
    Kind(
        "a training killed right before or after a call of fsync or replace",
        _at_a_call, 1, 12, before=(12, 0), needs=NEEDS,
    ),
    Kind("a training killed in the middle of a write", _while_writing, 1, 12, needs=NEEDS),
    Kind(
        "one training with two loader workers, killed again and again",
        _again_and_again, 0, 10, needs=NEEDS,
    ),
]  # fmt: skip
