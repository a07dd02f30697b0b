"""Trainings in environments that lack something: streams, folders, descriptors, a home."""

from __future__ import annotations

import locale
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.faults.forked import NEEDS, PROMPT, Ended, Fault, SmallRun
from tests.faults.trials import Kind, Trial

_ROOT = Path(__file__).resolve().parents[2]


def _set(**values: str | None) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    tempfile.tempdir = None
    time.tzset()


def _limit(name: str, number: int) -> None:
    import resource

    kind = getattr(resource, name)
    resource.setrlimit(kind, (number, resource.getrlimit(kind)[1]))


def _closed(*numbers: int) -> None:
    """Close descriptors as a shell does: Python then has None for these streams."""
    for number in numbers:
        os.close(number)
        setattr(sys, ("stdin", "stdout", "stderr")[number], None)


def _onto(number: int, path: str) -> None:
    os.dup2(os.open(path, os.O_RDWR), number)


def _unread(*numbers: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    for number in numbers:
        os.dup2(writing, number)


def _work_removed() -> None:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)


def _file_as_folder(name: str) -> None:
    handle, path = tempfile.mkstemp()
    os.close(handle)
    _set(**{name: path})


FORKED: dict[str, Fault] = {
    "no HOME": partial(_set, HOME=None),
    "HOME is not there": partial(_set, HOME="/nowhere"),
    "HOME is a file": partial(_file_as_folder, "HOME"),
    "TMPDIR is not there": partial(_set, TMPDIR="/nowhere"),
    "TMPDIR is a file": partial(_file_as_folder, "TMPDIR"),
    "HF_HOME is a file": partial(_file_as_folder, "HF_HOME"),
    "XDG_CACHE_HOME is a file": partial(_file_as_folder, "XDG_CACHE_HOME"),
    "an empty PATH": partial(_set, PATH=""),
    "a time zone of nonsense": partial(_set, TZ="nonsense/nowhere"),
    "a terminal without columns": partial(_set, COLUMNS="0", LINES="-1", TERM="nonsense"),
    "20 files at most": partial(_limit, "RLIMIT_NOFILE", 20),
    "12 files at most": partial(_limit, "RLIMIT_NOFILE", 12),
    "files of 1,000 bytes at most": partial(_limit, "RLIMIT_FSIZE", 1000),
    "files of 100,000 bytes at most": partial(_limit, "RLIMIT_FSIZE", 100_000),
    "a umask that forbids all": partial(os.umask, 0o777),
    "closed input": partial(_closed, 0),
    "closed output": partial(_closed, 1),
    "closed error output": partial(_closed, 2),
    "all closed": partial(_closed, 0, 1, 2),
    "output onto a full disk": partial(_onto, 1, "/dev/full"),
    "error output onto a full disk": partial(_onto, 2, "/dev/full"),
    "output that nobody reads": partial(_unread, 1),
    "both outputs that nobody reads": partial(_unread, 1, 2),
    "the working folder removed": _work_removed,
    "the C locale": partial(locale.setlocale, locale.LC_ALL, "C"),
}
"""What is wrong -> does it in the process that trains."""

STARTED: dict[str, dict[str, str]] = {
    "LANG=C": {"LANG": "C", "LC_ALL": ""},
    "ASCII": {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
    "output in ASCII": {"PYTHONIOENCODING": "ascii"},
    "warnings as errors of this package": {"PYTHONWARNINGS": "error::UserWarning:lycoris_ext"},
}
"""What is wrong -> variables with which a new Python is started."""


def _trials(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    run = SmallRun(folder / "run")
    undisturbed = _adapter_of(run.train(), run)
    kinds: dict[str, Callable[[], Ended]] = {
        name: partial(run.train, fault) for name, fault in FORKED.items()
    }
    kinds |= {name: partial(_started, run, values) for name, values in STARTED.items()}
    names = list(kinds)
    # A new Python takes ten seconds to start: a few trials are forked ones.
    chosen = names if number >= len(names) else random.Random(seed).sample(list(FORKED), number)
    for name in chosen:
        shutil.rmtree(run.out, ignore_errors=True)
        yield Trial(name, kinds[name]().same(run.adapter, undisturbed))


def _adapter_of(ended: Ended, run: SmallRun) -> bytes:
    assert ended.code == 0, ended.said
    return run.adapter.read_bytes()


def _started(run: SmallRun, variables: dict[str, str]) -> Ended:
    """Train in a new Python; the prompt of its command line is not ASCII."""
    command = [sys.executable, "-m", "lycoris_ext", "train", str(run.config)]
    command += ["--sample_prompts", PROMPT]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1", **variables}
    done = subprocess.run(command, capture_output=True, env=environment, timeout=300, check=False)
    return Ended(done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace"))


KINDS = [
    Kind(
        "an environment that lacks something: streams, files, a home, a locale",
        _trials, 2, len(FORKED) + len(STARTED), before=(22, 7), needs=NEEDS,
    ),
]  # fmt: skip
