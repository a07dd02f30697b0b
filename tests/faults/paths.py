"""Paths that lead to no file: pipes, devices, sockets, folders, and names that no file can have."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from lycoris_ext.config import all_options
from tests.faults.forked import NEEDS, SmallRun, forked, make_socket
from tests.faults.trials import Kind, Trial

_ENDINGS = {"config": ".toml", "preset": ".toml", "sample_prompts": ".txt", "in_json": ".json"}
_CAPTION, _PICTURE = "pictures/1_shapes/00.txt", "pictures/1_shapes/00.png"


def _no_files(folder: Path, ending: str) -> dict[str, Path]:
    """Make things that are no files, with names that end as a file's name should."""
    pipe, device, full, inside = (folder / f"{n}{ending}" for n in ("pipe", "zero", "full", "dir"))
    if not pipe.exists():
        os.mkfifo(pipe)
        device.symlink_to("/dev/zero")
        full.symlink_to("/dev/full")
        inside.mkdir()
        make_socket(folder / f"socket{ending}")
    return {
        "a pipe": pipe,
        "/dev/zero": device,
        "/dev/full": full,
        "a folder": inside,
        "a socket": folder / f"socket{ending}",
    }


@cache
def _path_options() -> list[str]:
    return sorted(name for name, known in all_options().items() if known.is_path)


def _commands(run: SmallRun, thing: str, ending: str) -> dict[str, Sequence[str]]:
    """Return commands that are given a thing as a file whose name has this ending."""
    train = ["train", str(run.config)]
    sample = ["sample", "--model", str(run.base), "--prompt", "cat --s 1"]
    known: dict[str, dict[str, Sequence[str]]] = {
        ".toml": {
            "train": ["train", thing],
            "doctor": ["doctor", thing],
            "import": ["import", thing],
            "preset": [*train, "--preset", thing],
            "level_rules": [*train, "--level_rules", thing],
        },
        ".txt": {
            "sample_prompts": [*train, "--sample_prompts", thing],
            "--sample-prompts": ["sample", "--model", str(run.base), "--sample-prompts", thing],
        },
        ".json": {"in_json": [*train, "--in_json", thing], "import": ["import", thing]},
        ".safetensors": {
            "info": ["info", thing],
            "config": ["config", thing],
            "--adapter": [*sample, "--adapter", thing],
            "--model": ["sample", "--model", thing, "--prompt", "cat"],
            "network_weights": [*train, "--network_weights", thing],
            "base_weights": [*train, "--base_weights", thing],
            "vae": [*train, "--vae", thing],
            "pretrained_model": [*train, "--pretrained_model_name_or_path", thing],
        },
        ".ckpt": {
            "info": ["info", thing],
            "pretrained_model": [*train, "--pretrained_model_name_or_path", thing],
        },
    }
    return known[ending]


def _given(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    run = SmallRun(folder / "run")
    run.train(more=["--max_train_steps", "0"])  # imports what the commands import
    things = folder / "things"
    things.mkdir()
    trials = [
        (f"{what} as {name}", command)
        for ending in (".toml", ".txt", ".json", ".safetensors", ".ckpt")
        for what, path in _no_files(things, ending).items()
        for name, command in _commands(run, str(path), ending).items()
    ]
    random.Random(seed).shuffle(trials)
    for name, command in trials[:number]:
        ended = forked(command, folder / "log")
        yield Trial(name, ended.bad or ("" if ended.code else "accepted"))


def _impossible(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    run = SmallRun(folder / "run")
    names = {
        "a zero byte": "a\0b",
        "the folder of nobody": "~nobody-of-this-name/x",
        "6,000 characters": "long/" * 1_200,
        "a name of 300 characters": "n" * 300,
        "half of a character": "a\ud800b",
        "escape sequences": "\x1b]0;title\x07\x1b[31mred",
        "a changed direction": "a\u202eb",
        "a folder below a file": str(run.config / "below"),
    }
    trials = [
        (f"{what} as {option}", option, name + _ENDINGS.get(option, ""))
        for option in [*_path_options(), "output_name", "config"]
        for what, name in names.items()
    ]
    random.Random(seed).shuffle(trials)
    for told, option, name in trials[:number]:
        flags = ["train", name] if option == "config" else ["train", str(run.config)]
        flags += [] if option == "config" else [f"--{option}", name]
        ended = forked(flags, folder / "log", lambda: os.chdir(folder))
        said = ended.said.replace("\x1b[A", "")  # tqdm's own
        bad = "control characters" if any(c in said for c in "\x1b\x07\u202e") else ""
        yield Trial(told, ended.bad or bad)


def _number_of_impossible() -> int:
    return 8 * (len(_path_options()) + 2)


KINDS = [
    Kind("a pipe, a device, a socket or a folder given as a file", _given, 1, 90, needs=NEEDS),
    Kind(
        "a path that no file can have, in every option that is a path",
        _impossible, 1, _number_of_impossible(), needs=NEEDS,
    ),
]  # fmt: skip
