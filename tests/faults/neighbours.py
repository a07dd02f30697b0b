"""Things that lie where the files of a training are, when it is started again."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from tests.faults.forked import NEEDS, SmallRun, make_socket
from tests.faults.trials import Kind, Trial

VICTIM = b"of another user"
_NAMES = (
    ".x.lock",
    "x.state",
    "x.state-before",
    "x.events.jsonl",
    "x.dataset.json.gz",
    "x.toml",
    "x.safetensors",
    "x-step-1.safetensors",
    "cache",
    "sample",
)


def _lines(*lines: str) -> Callable[[Path], object]:
    return lambda path: path.write_text("\n".join(lines), encoding="utf-8")


_THINGS: dict[str, Callable[[Path], object]] = {
    "a folder": lambda path: (path.mkdir(), (path / "file").touch()),
    "an empty folder": Path.mkdir,
    "a pipe": os.mkfifo if hasattr(os, "mkfifo") else Path.mkdir,  # type: ignore[dict-item]
    "a socket": make_socket,
    "an empty file": Path.touch,
    "bytes of chance": lambda path: path.write_bytes(random.Random(0).randbytes(5000)),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to a file of another user": lambda path: path.symlink_to("../victim"),
    "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "strange events": _lines(
        '{"step": "a"}', "null", "[" * 100_000, '{"event": "step", "step": null, "loss": {}}',
        '{"event": "checkpoint", "step": 1, "files": [1]}', '{"event": [], "step": 1}', "7",
        '{"event": "checkpoint", "step": 1, "files": {"../victim": "0", "": 1}}',
        '{"event": "step", "step": 1e400, "loss": 1}', '{"event": "step", "step": 1, "loss": "x"}',
    ),
}  # fmt: skip
"""What lies there -> makes it at a path that is free."""


def _trials(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    run = SmallRun(folder / "run", "save_every_n_steps = 1\nsave_last_n_steps = 1\n")
    whole = run.train()
    assert whole.code == 0, whole.said
    undisturbed = run.adapter.read_bytes()
    shutil.rmtree(run.out)
    run.train(more=["--max_train_steps", "1"])
    run.adapter.unlink()
    begun = shutil.copytree(run.out, folder / "begun")
    victim = run.folder / "victim"
    pairs = [(name, what) for name in _NAMES for what in _THINGS]
    random.Random(seed).shuffle(pairs)
    for name, what in pairs[:number]:
        shutil.rmtree(run.out)
        shutil.copytree(begun, run.out)
        victim.write_bytes(VICTIM)
        place = run.out / name
        _remove(place)
        _THINGS[what](place)
        bad = run.train().same(run.adapter, undisturbed)
        if not bad and victim.read_bytes() != VICTIM:
            bad = "a file outside of the folder was written"
        yield Trial(f"{what} as {name}", bad)


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


KINDS = [
    Kind(
        "strange things where the files of a training are that goes on",
        _trials, 1, len(_NAMES) * len(_THINGS), before=(11, 3), needs=NEEDS,
    ),
]  # fmt: skip
