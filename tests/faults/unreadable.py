"""Files and folders that the user may not read, or not write, at the start of a training."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.faults.forked import NEEDS, SmallRun
from tests.faults.trials import Kind, Trial

_CAPABILITIES_3 = 0x20080522
_READ_AND_WRITE_ALL = 0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
_MORE = """
base_weights = ["start.safetensors"]
preset = "preset.toml"
sample_prompts = "prompts.txt"
"""
_FILES = (
    "x.toml",
    "preset.toml",
    "prompts.txt",
    "start.safetensors",
    "pictures/1_shapes/00.png",
    "pictures/1_shapes/00.txt",
    "base/model_index.json",
    "base/unet/config.json",
    "base/unet/diffusion_pytorch_model.safetensors",
    "base/text_encoder/model.safetensors",
    "base/tokenizer/vocab.json",
    "base/scheduler/scheduler_config.json",
    "out/x.state",
    "out/x.events.jsonl",
    "out/x.dataset.json.gz",
    "out/x.toml",
    "out/.x.lock",
)
_FOLDERS = (
    "pictures",
    "pictures/1_shapes",
    "base",
    "base/unet",
    "base/tokenizer",
    "out",
    "out/cache",
    "out/cache/latents",
    "out/sample",
)
_PLACES = [(name, 0o000) for name in _FILES] + [
    (name, mode) for name in _FOLDERS for mode in (0o000, 0o444, 0o555)
]


_NEEDS = "" if sys.platform == "linux" else "it takes rights from root: Linux alone"


def as_any_user() -> None:
    """Take from root, for this process, the right to read and write everything."""
    if os.getuid():
        return
    system = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0)
    sets = (ctypes.c_uint32 * 6)()
    system.capget(header, sets)
    sets[0] &= ~_READ_AND_WRITE_ALL
    if system.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


def _trials(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    run = SmallRun(folder / "run")
    begun = _begun(run, folder)
    places = list(_PLACES)
    random.Random(seed).shuffle(places)
    for name, mode in places[:number]:
        shutil.rmtree(run.folder)
        shutil.copytree(begun, run.folder)
        place = run.folder / name
        before = place.stat().st_mode
        place.chmod(mode)
        ended = run.train(as_any_user, lambda: os.chdir(run.folder))
        place.chmod(before)
        bad = ended.bad
        if not bad and ended.code and place.name not in ended.said:
            bad = f"the message does not name it: {ended.said[-400:]}"
        yield Trial(f"{name} has mode {mode:03o}", bad)


def _begun(run: SmallRun, folder: Path) -> Path:
    """Train one step with all the files that a config can name, and return a copy of all."""
    ended = run.train(more=["--output_name", "start", "--max_train_steps", "1"])
    assert ended.code == 0, ended.said
    (run.out / "start.safetensors").rename(run.folder / "start.safetensors")
    shutil.rmtree(run.out)
    lines = run.config.read_text("utf-8").splitlines()
    kept = [line for line in lines if not line.startswith(("preset", "sample_prompts"))]
    run.config.write_text("\n".join(kept) + _MORE, encoding="utf-8")
    (run.folder / "preset.toml").write_text(
        'unet_target_module = ["Transformer2DModel"]\n', encoding="utf-8"
    )
    (run.folder / "prompts.txt").write_text("cat --s 1 --w 32 --h 32\n", encoding="utf-8")
    ended = run.train(lambda: os.chdir(run.folder), more=["--max_train_steps", "2"])
    assert ended.code == 0, ended.said
    (run.out / ".x.lock").touch()
    return Path(shutil.copytree(run.folder, folder / "begun"))


KINDS = [
    Kind(
        "a file or folder that may not be read or written (chmod)",
        _trials, 1, len(_PLACES), before=(8, 5),
        needs=NEEDS or _NEEDS,
    ),
]  # fmt: skip
