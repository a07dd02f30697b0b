"""Trainings whose folders and pictures are deleted, moved or changed while they run."""

from __future__ import annotations

import os
import random
import re
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.faults.training_world import (
    NEEDS,
    STEPS,
    Break,
    Fault,
    Training,
    at_step,
    undisturbed,
)
from tests.faults.trials import Kind, Trial
from tests.tiny_pictures import write_pictures


def _folders(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    chance = random.Random(seed)
    names = ("removed", "renamed", "work removed", "cache removed")
    for count in range(number):
        training = Training(folder / str(count))
        what, step = names[count % len(names)], chance.randint(1, STEPS)
        out, moved, work = training.out, training.folder / "moved", training.folder / "work"
        work.mkdir()
        do: dict[str, Fault] = {
            "removed": partial(shutil.rmtree, out),
            "renamed": partial(os.rename, out, moved),
            "work removed": partial(_remove_work, work),
            "cache removed": partial(shutil.rmtree, out / "cache"),
        }
        bad = training.run(at_step(step, do[what])).bad(0, 4)
        if moved.exists():
            shutil.rmtree(out, ignore_errors=True)
            moved.rename(out)
        bad = bad or training.resumed(whole=what != "removed")
        yield Trial(f"{what} in step {step}", bad)


def _remove_work(folder: Path) -> None:
    os.chdir(folder)
    folder.rmdir()


def _pictures(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    """It trains on what it has checked, or refuses what has changed by its name."""
    chance = random.Random(seed)
    changes = {"deleted": _delete, "swapped": _swap, "captions changed": _change_caption}
    for count in range(number):
        training = Training(folder / str(count))
        what = list(changes)[count % len(changes)]
        names = sorted(path.name for path in training.pictures.rglob("*.png"))
        picture = next(training.pictures.rglob(chance.choice(names)))
        do = partial(changes[what], picture)
        early = chance.random() < 0.5
        encoding = Break("lycoris_ext.training.train:encode_pictures", 1, do)
        step = chance.randint(1, STEPS)
        ended = training.run(encoding if early else at_step(step, do))
        bad = ended.bad(0, 3)
        if not bad and ended.code == 0:
            bad = training.differs()
        elif not bad and not re.search(r"error: .*\d\d\.(png|txt)", ended.said):
            bad = f"refused without the picture's name: {ended.said}"
        shutil.rmtree(training.pictures)
        write_pictures(training.pictures, count=7)
        when = "while encoding" if early else f"in step {step}"
        yield Trial(f"{what} {when}", bad or training.resumed())


def _delete(picture: Path) -> None:
    picture.unlink()
    picture.with_suffix(".txt").unlink()


def _swap(picture: Path) -> None:
    """Let a picture and another one change places."""
    other = next(path for path in sorted(picture.parent.glob("*.png")) if path != picture)
    aside = picture.with_suffix(".aside")
    picture.rename(aside)
    other.rename(picture)
    aside.rename(other)


def _change_caption(picture: Path) -> None:
    picture.with_suffix(".txt").write_text("something else", encoding="utf-8")


def _two_processes(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    chance = random.Random(seed)
    for count in range(number):
        if count % 2 == 0:
            yield _one_name(folder / str(count))
        else:
            moment = chance.uniform(0.0, undisturbed().seconds)
            yield _one_cache(folder / str(count), moment)


def _one_cache(folder: Path, moment: float) -> Trial:
    """Let two trainings share a cache, and kill one of them."""
    both = [Training(folder / name, 'cache_dir = "../cache"\n') for name in ("one", "other")]
    killed, other = [training.start() for training in both]
    time.sleep(moment)
    killed.kill()
    bad = both[1].ended(other).bad(0) or both[1].differs()
    both[0].ended(killed)
    return Trial(f"one cache, one killed after {moment:.2f} s", bad or both[0].resumed())


def _one_name(folder: Path) -> Trial:
    """Start a training a second time while it runs: the second is refused, the first ends."""
    training, held = Training(folder), folder / "held"
    first = training.start(at_step(1, partial(_wait_for, held)))
    while not (training.out / ".x.lock").exists() and first.exitcode is None:
        time.sleep(0.01)
    log, training.log = training.log, folder / "second"
    bad = training.run().bad(4)
    training.log = log
    held.touch()
    return Trial("one name", bad or training.ended(first).bad(0) or training.differs())


def _wait_for(file: Path) -> None:
    while not file.exists():
        time.sleep(0.01)


KINDS = [
    Kind(
        "output, work or cache folder removed or renamed during a training",
        _folders, 1, 8, before=(4, 0), needs=NEEDS,
    ),
    Kind(
        "pictures deleted or swapped, captions changed during a training",
        _pictures, 1, 9, before=(6, 0), needs=NEEDS,
    ),
    Kind(
        "two trainings with one cache, one of them killed, or with one name",
        _two_processes, 1, 6, before=(2, 0), needs=NEEDS,
    ),
]  # fmt: skip
