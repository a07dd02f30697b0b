"""Pictures and captions that change between a check and a training, and caches that are pruned."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from lycoris_ext.data.cache_folder import delete, entries
from tests.faults.broken_disk import BrokenDisk
from tests.faults.forked import NEEDS, SmallRun, forked
from tests.faults.training_world import STEPS, Break, Training, at_step, failing
from tests.faults.trials import Kind, Trial
from tests.originals import digests
from tests.tiny_pictures import write_picture

_TIMES = ("with its time kept", "with a new time")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _picture_beside(path: Path) -> bytes:
    """Return the bytes of another picture; a caption may be replaced by them, too."""
    made = path.with_name("made.png")
    write_picture(made, 11)
    raw = made.read_bytes()
    made.unlink()
    return raw


def _another(path: Path) -> None:
    path.write_bytes(_picture_beside(path))


def _same_size(path: Path) -> None:
    """Replace a file by a picture with as many bytes."""
    size = path.stat().st_size
    path.write_bytes(_picture_beside(path)[:size].ljust(size, b"\0"))


CHANGES: dict[str, Callable[[Path], object]] = {
    "deleted": Path.unlink,
    "truncated": _cut,
    "emptied": lambda path: path.write_bytes(b""),
    "replaced": _another,
    "replaced by one of its size": _same_size,
    "replaced by a folder": _folder_instead,
    "replaced by a text": lambda path: path.write_text("no picture", encoding="utf-8"),
}
"""What happens to a picture or a caption -> does it."""


def _between(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    """After the change a training ends as if nothing had been checked or cached before."""
    chance = random.Random(seed)
    run = SmallRun(folder / "run")
    known = shutil.copytree(run.folder, folder / "known")
    for _ in range(number):
        shutil.rmtree(run.folder)
        shutil.copytree(known, run.folder)
        checked = forked(["check", str(run.config)], folder / "log")
        assert checked.code == 0, checked.said
        ended = run.train()  # its caches stay
        assert ended.code == 0, ended.said
        file = next(run.pictures.rglob(chance.choice(("01.png", "01.png", "01.txt"))))
        what, time = chance.choice(list(CHANGES)), chance.choice(_TIMES)
        state = file.stat()
        CHANGES[what](file)
        if time == _TIMES[0] and file.exists():
            os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
        before = digests(run.pictures)
        _forget_run(run)
        after = run.train()
        name = f"{file.name} {what} {time}"
        bad = after.bad or ("" if digests(run.pictures) == before else "an original was written to")
        if not bad and after.code and file.stem not in after.said:
            bad = f"the message does not name it: {after.said[-400:]}"
        yield Trial(name, bad or _as_without_caches(run, after.code))


def _forget_run(run: SmallRun) -> None:
    for path in [*run.out.iterdir()]:
        if path.is_file():
            path.unlink()


def _as_without_caches(run: SmallRun, code: int | None) -> str:
    """Train again without any cache: return what differs."""
    trained = run.adapter.read_bytes() if run.adapter.exists() else b""
    shutil.rmtree(run.out)
    again = run.train()
    if again.code != code:
        return f"exit code {code}, and {again.code} without caches: {again.said[-400:]}"
    fresh = run.adapter.read_bytes() if run.adapter.exists() else b""
    return "" if trained == fresh else "another adapter than without caches"


def _full_cache(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    """The disk is full while latents are cached, and is freed later."""
    chance = random.Random(seed)
    for count in range(number):
        training = Training(folder / str(count))
        works = chance.randrange(9000)
        disk = BrokenDisk(training.out / "cache", works, failing(28))
        ended = training.run(disk)
        bad = ended.bad(0, 4)
        if not bad and ended.code and "cache" not in ended.said:
            bad = f"the cache is not named: {ended.said}"
        yield Trial(f"full after {works} bytes", bad or training.resumed())


def _prune(folder: Path) -> None:
    if folder.exists():
        delete(entries(folder))


def _pruned(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    chance = random.Random(seed)
    for count in range(number):
        training = Training(folder / str(count))
        step = chance.randint(0, STEPS)
        prune = partial(_prune, training.out / "cache")
        encoding = Break("lycoris_ext.training.train:encode_pictures", 1, prune, after=True)
        ended = training.run(at_step(step, prune) if step else encoding)
        yield Trial(f"in step {step}", ended.bad(0) or training.differs())


KINDS = [
    Kind("a picture or caption deleted, truncated or replaced between lint and training",
         _between, 1, 40, needs=NEEDS),
    Kind("a disk that gets full while pictures are cached", _full_cache, 1, 8, needs=NEEDS),
    Kind("a cache that is pruned while a training uses it", _pruned, 1, 8, needs=NEEDS),
]  # fmt: skip
