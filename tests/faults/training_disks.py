"""Trainings on disks that get full, fail, or may not be written any more."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.faults.broken_disk import BrokenDisk, forbid
from tests.faults.training_world import (
    NEEDS,
    STEPS,
    Break,
    Ended,
    Training,
    at_step,
    failing,
    undisturbed,
)
from tests.faults.trials import Kind, Trial

_DRAWN = 'sample_every_n_steps = 2\nsample_prompts = ["cat --s 1 --w 32 --h 32"]\n'
_LOGGED = 'log_with = "tensorboard"\nlogging_dir = "logs"\n'
_REPLACE_ERRORS = ("EACCES", "EROFS", "ENOSPC", "EXDEV", "EIO")


def _told(training: Training, ended: Ended, *codes: int) -> str:
    """Return what is bad about a training that met a fault and was then started again."""
    bad = ended.bad(*codes)
    if not bad and (left := training.unfinished()):
        bad = f"left behind: {', '.join(left)}"
    return bad or training.resumed()


def _full(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    chance = random.Random(seed)
    for count in range(number):
        training = Training(folder / str(count))
        works, tells = chance.randrange(undisturbed().written), chance.random() < 0.5
        disk = BrokenDisk(training.folder, works, failing(errno.ENOSPC), tells=tells)
        name = f"full after {works} bytes" + (", which the system tells" if tells else "")
        yield Trial(name, _told(training, training.run(disk), 4))


def _full_for_previews(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    chance = random.Random(seed)
    for count in range(number):
        training = Training(folder / str(count), _DRAWN)
        works = chance.randrange(3000)
        disk = BrokenDisk(training.out / "sample", works, failing(errno.ENOSPC))
        yield Trial(f"full after {works} bytes", _told(training, training.run(disk), 0, 4))


def _failing_calls(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    chance = random.Random(seed)
    for count in range(number):
        training = Training(folder / str(count))
        place = "os:fsync" if count % 2 else "os:replace"
        code = "EIO" if place == "os:fsync" else chance.choice(_REPLACE_ERRORS)
        call = chance.randint(1, undisturbed().calls[place])
        ended = training.run(Break(place, call, failing(getattr(errno, code))))
        yield Trial(f"{code} at call {call} of {place}", _told(training, ended, 0, 4))


def _half_a_line(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    chance = random.Random(seed)
    for count in range(number):
        training = Training(folder / str(count))
        code, works = chance.choice(("ENOSPC", "EIO")), chance.randrange(1, 150 * STEPS)
        disk = BrokenDisk(
            training.out, works, failing(getattr(errno, code)), names="*.events.jsonl"
        )
        yield Trial(f"{code} after {works} bytes", _told(training, training.run(disk), 4))


def _forbidden(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    chance = random.Random(seed)
    for count in range(number):
        training = Training(folder / str(count))
        step = chance.randint(1, STEPS)
        ended = training.run(at_step(step, partial(forbid, training.out)))
        yield Trial(f"from step {step} on", _told(training, ended, 4))


def _curves(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    """The curves for TensorBoard are an extra: the training goes on without them."""
    chance = random.Random(seed)
    for count in range(number):
        training = Training(folder / str(count), _LOGGED)
        logs = training.folder / "logs"
        works = chance.randrange(200)
        ended = training.run(BrokenDisk(logs, works, failing(errno.ENOSPC)))
        yield Trial(f"full after {works} bytes", ended.bad(0) or training.differs())


KINDS = [
    Kind("a disk that gets full, and is freed later", _full, 1, 12, before=(12, 0), needs=NEEDS),
    Kind(
        "a disk that gets full by previews alone",
        _full_for_previews, 0, 3, before=(1, 0), needs=NEEDS,
    ),
    Kind("a failing fsync or replace", _failing_calls, 1, 12, before=(12, 0), needs=NEEDS),
    Kind("half a line of the event log, then an error", _half_a_line, 1, 6, (2, 0), NEEDS),
    Kind(
        "an output folder that may not be written any more",
        _forbidden, 1, 4, before=(1, 1), needs=NEEDS,
    ),
    Kind("a disk for TensorBoard's curves that gets full", _curves, 1, 4, (2, 2), NEEDS),
]  # fmt: skip
