"""Commands in which one call of the file system fails."""

from __future__ import annotations

import builtins
import errno
import io
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lycoris_ext.runs.events import read_events
from tests.faults.forked import NEEDS, STEPS, SmallRun, forked
from tests.faults.trials import Kind, Trial

CALLS = (
    "open",
    "stat",
    "lstat",
    "scandir",
    "listdir",
    "mkdir",
    "unlink",
    "replace",
    "rename",
    "write",
    "ftruncate",
    "fsync",
)
"""Functions of ``os`` that fail; "open" is Python's own, too."""
ERRORS = ("EACCES", "EPERM", "ENOSPC", "EIO", "EROFS", "ESTALE", "EMFILE", "EBUSY")
KILLED = "SIGKILL"
"""Instead of an error: the process is killed there."""
_BY_NUMBER = ("write", "ftruncate", "fsync")
"""Functions that are given a descriptor instead of a path."""


@dataclass(frozen=True)
class Failing:
    """Calls that concern files below a folder are counted, and one of them fails.

    Args:
        folder: the folder.
        call: the number of the call that fails, from 1; 0: none.
        error: its error's name in ``errno``, or ``KILLED``.
        tally: gets a byte for each call.
        lasting: every call from this one on fails.
    """

    folder: Path
    call: int
    error: str
    tally: Path
    lasting: bool = False

    def __call__(self) -> None:
        """Let the calls of this process fail."""
        tally = os.open(self.tally, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        writing = os.write
        count = 0

        def counted(path: object) -> None:
            nonlocal count
            if not self._concerns(path):
                return
            count += 1
            writing(tally, b".")
            if count == self.call or (self.lasting and 0 < self.call < count):
                if self.error == KILLED:
                    signal.raise_signal(signal.SIGKILL)
                number = getattr(errno, self.error)
                where = None if isinstance(path, int) else os.fspath(path)  # type: ignore[call-overload]
                raise OSError(number, os.strerror(number), where)

        for name in CALLS:
            setattr(os, name, _failing(getattr(os, name), counted))
        builtins.open = io.open = _failing(builtins.open, counted)  # type: ignore[assignment]

    def _concerns(self, path: object) -> bool:
        if isinstance(path, int):
            return path > 2
        if not isinstance(path, (str, os.PathLike)):
            return False
        return os.path.abspath(path).startswith(str(self.folder))


def _failing(real: Any, counted: Callable[[object], None]) -> Any:
    by_number = getattr(real, "__name__", "") in _BY_NUMBER

    def call(path: Any = ".", *more: Any, **named: Any) -> Any:
        if by_number or not isinstance(path, int):
            counted(path)
        return real(path, *more, **named)

    return call


def _training(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    """A training that meets the error ends with words; started again, it ends as if nothing was."""
    run, chance = SmallRun(folder / "run"), random.Random(seed)
    tally = folder / "tally"
    first = run.train(Failing(run.folder, 0, "EIO", tally))
    assert first.code == 0, first.said
    calls, undisturbed = tally.stat().st_size, run.adapter.read_bytes()
    for _ in range(number):
        shutil.rmtree(run.out)
        halfway = chance.random() < 0.5
        if halfway:
            run.train(more=["--max_train_steps", "1"])
        error = chance.choice(ERRORS)
        failing = Failing(run.folder, chance.randint(1, calls), error, tally, chance.random() < 0.3)
        name = f"{error} {'from' if failing.lasting else 'at'} call {failing.call} of {calls}"
        name += ", resumed" if halfway else ""
        bad = run.train(failing).same(run.adapter, undisturbed)
        run.out.mkdir(exist_ok=True)
        yield Trial(name, bad or _again(run, undisturbed))


def _again(run: SmallRun, undisturbed: bytes) -> str:
    ended = run.train()
    if ended.code == 2 and "finished" in ended.said:
        return ""
    bad = ended.same(run.adapter, undisturbed) or ("" if ended.code == 0 else ended.said)
    events = read_events(run.out / "x.events.jsonl")
    steps = [event["step"] for event in events if event["event"] == "step"]
    if not bad and steps != list(range(1, STEPS + 1)):
        bad = f"steps were logged as {steps}"
    if not bad and any(run.out.glob(".*.tmp")):
        bad = "temporary files are left"
    return f"then: {bad}" if bad else ""


def commands(run: SmallRun) -> dict[str, Sequence[str]]:
    """Return commands that read and write files, by their names; they need a finished run."""
    out, adapter, config = run.folder / "drawn", str(run.adapter), str(run.config)
    drawn = ["--prompt", "cat --s 1 --w 32 --h 32", "--output-dir", str(out)]
    new, imported, exported = (
        ["--output", str(run.folder / f"{name}.toml")] for name in ("new", "imported", "exported")
    )
    return {
        "info": ["info", adapter],
        "sample": ["sample", "--model", str(run.base), "--adapter", adapter, *drawn],
        "config": ["config", adapter, *new],
        "init": ["init", str(run.pictures), "--base", str(run.base), "--output", str(out / "i")],
        "doctor": ["doctor", config],
        "import": ["import", config, *imported],
        "export-config": ["export-config", config, "--to", "sd-scripts", *exported],
    }


def _others(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    run, chance = SmallRun(folder / "run"), random.Random(seed)
    ended = run.train()
    assert ended.code == 0, ended.said
    known, log, tally = commands(run), folder / "log", folder / "tally"
    for _ in range(number):
        what, error = chance.choice(list(known)), chance.choice(ERRORS)
        _clear(run)
        tally.unlink(missing_ok=True)
        whole = forked(known[what], log, Failing(run.folder, 0, error, tally))
        assert whole.code == 0, whole.said
        calls = tally.stat().st_size
        _clear(run)
        failing = Failing(run.folder, chance.randint(1, calls), error, tally)
        ended = forked(known[what], log, failing)
        yield Trial(f"{what}: {error} at call {failing.call} of {calls}", ended.bad)


def _clear(run: SmallRun) -> None:
    shutil.rmtree(run.folder / "drawn", ignore_errors=True)
    for name in ("new", "imported", "exported"):
        for path in run.folder.glob(f"{name}*"):
            path.unlink()


KINDS = [
    Kind("a training in which one call of the file system fails, or all from one on",
         _training, 1, 100, needs=NEEDS),
    Kind("another command in which one call of the file system fails",
         _others, 1, 100, needs=NEEDS),
]  # fmt: skip
