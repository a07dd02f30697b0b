"""Worker processes of a training whose main process is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.trials import Kind, Trial
from tests.tiny_pictures import write_pictures

_ROOT = Path(__file__).resolve().parents[2]
_MAIN = """
import sys
if __name__ == "__main__":
    from lycoris_ext.data import DataConfig, iterate_batches, open_training_set
    config = DataConfig(train_data_dir=sys.argv[1], max_data_loader_n_workers=4)
    pictures = open_training_set(config, 0)
    print("begun", flush=True)
    for _ in iterate_batches(pictures, 0, 10**9):
        pass
"""
_STARTING, _LEFT = 15.0, 10.0
"""Seconds in which workers have begun, and in which they must be gone."""


def _trials(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    chance, main = random.Random(seed), folder / "main.py"
    main.write_text(_MAIN, encoding="utf-8")
    write_pictures(folder / "pictures")
    for _ in range(number):
        moment = chance.uniform(0.0, _STARTING)
        left = _killed_after(moment, main)
        bad = f"{len(left)} processes live on after {_LEFT:.0f} s" if left else ""
        for process in left:
            os.kill(process, signal.SIGKILL)
        yield Trial(f"killed {moment:.1f} s after the first worker was started", bad)


def _killed_after(moment: float, main: Path) -> list[int]:
    """Kill the main process; return the processes that it leaves."""
    started = subprocess.Popen(
        [sys.executable, str(main), str(main.parent / "pictures")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert started.stdout is not None
    assert started.stdout.readline() == b"begun\n"
    time.sleep(moment)
    started.kill()
    started.wait()
    started.stdout.close()
    end = time.monotonic() + _LEFT
    while (left := _session(started.pid)) and time.monotonic() < end:
        time.sleep(0.1)
    return left


def _session(leader: int) -> list[int]:
    """Return the processes of a session that have not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, *more = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended just now
                continue
            if int(more[2]) == leader and state != "Z":
                found.append(int(entry.name))
    return found


KINDS = [
    Kind(
        "workers of a training whose main process is killed: none lives on",
        _trials, 0, 5, needs="" if sys.platform == "linux" else "it reads /proc: Linux alone",
    ),
]  # fmt: skip
