"""The command line in a forked process: a small training in a third of a second."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch

from lycoris_ext.cli import main
from lycoris_ext.cli.exit_codes import EXIT_CODES
from tests.tiny_pictures import write_pictures
from tests.tiny_pipeline import write_tiny_folder

NEEDS = "" if hasattr(os, "fork") else "it forks processes, which Windows cannot"
STEPS = 3
PROMPT = "été, 森 --s 1 --w 32 --h 32"
PATIENCE = 120.0
"""Seconds after which a command that should have ended counts as stuck."""
_CRASHED = 99
_HEAVY = (
    "accelerate",
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.models.unets.unet_2d_condition",
    "lycoris_ext.cli.train",
    "lycoris_ext.training.terminal",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
)
"""What a training imports while it begins."""

Fault = Callable[[], object]


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (None: it was stuck), and what it said."""

    code: int | None
    said: str

    @property
    def bad(self) -> str:
        """What is bad about it, whatever was wrong; "" if it was done or said what was wrong."""
        if "Traceback" in self.said or self.code == _CRASHED:
            return f"traceback: {self.said.strip()[-400:]}"
        if self.code not in EXIT_CODES:
            return f"exit code {self.code}: {self.said.strip()[-400:]}"
        return ""

    def same(self, adapter: Path, undisturbed: bytes) -> str:
        """Return what is bad about a training: as ``bad``, or another adapter than it should be."""
        if self.bad or self.code != 0:
            return self.bad
        if not adapter.is_file():
            return "exit code 0, and no adapter"
        return "" if adapter.read_bytes() == undisturbed else "exit code 0, and another adapter"


class SmallRun:
    """A data set, a base model and a config in a folder.

    Args:
        folder: an empty folder.
        more: further lines of the config.
    """

    def __init__(self, folder: Path, more: str = "") -> None:
        self.folder, self.out = folder, folder / "out"
        self.base = write_tiny_folder(folder / "base")
        self.pictures = write_pictures(folder / "pictures", count=3, repeats=1)
        self.config = folder / "x.toml"
        self.adapter = self.out / "x.safetensors"
        self.config.write_text(
            f"""
pretrained_model_name_or_path = {json.dumps(self.base.as_posix())}
train_data_dir = {json.dumps(self.pictures.as_posix())}
output_name = "x"
output_dir = {json.dumps(self.out.as_posix())}
resolution = 32
max_token_length = 150
algo = "lora"
network_dim = 2
preset = "attn-only"
optimizer_type = "AdamW"
learning_rate = 1e-3
cache_latents_to_disk = true
max_train_steps = {STEPS}
save_state_every_n_steps = 1
sample_prompts = ["{PROMPT}"]
sample_every_n_steps = 2
device = "cpu"
{more}""",
            encoding="utf-8",
        )

    def train(self, *faults: Fault, more: Sequence[str] = ()) -> Ended:
        """Train after some faults."""
        return forked(["train", str(self.config), *more], self.folder / "log", *faults)


def forked(command: Sequence[str], log: Path, *faults: Fault) -> Ended:
    """Run a command of the command line in a forked process, after some faults, to its end."""
    log.unlink(missing_ok=True)
    for name in _HEAVY:
        import_module(name)
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of threads and forks
        child = os.fork()
    if not child:
        _be(command, log, faults)
    end = time.monotonic() + PATIENCE
    found, status = os.waitpid(child, os.WNOHANG)
    while not found and time.monotonic() < end:
        time.sleep(0.005)
        found, status = os.waitpid(child, os.WNOHANG)
    if not found:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    said = log.read_text("utf-8", errors="replace") if log.exists() else ""
    return Ended(os.waitstatus_to_exitcode(status) if found else None, said)


def make_socket(path: Path) -> None:
    """Make a socket, which has a place in a folder and is no file."""
    here = os.getcwd()
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(path.parent)  # the whole path may be too long
        server.bind(path.name)
    os.chdir(here)


def _be(command: Sequence[str], log: Path, faults: Sequence[Fault]) -> None:
    """Be the forked process: never returns."""
    code = _CRASHED
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # it would tell of the fork
        warnings.simplefilter("ignore")
        torch.set_num_threads(1)
        for fault in faults:
            fault()
        for number, name in ((1, "stdout"), (2, "stderr")):
            if getattr(sys, name) is not None:  # a fault may have closed it
                stream = io.TextIOWrapper(io.FileIO(number, "w", closefd=False))
                setattr(sys, name, stream)
        code = main(command)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - as Python itself does
        os.write(handle, traceback.format_exc().encode("utf-8", "replace"))
    finally:
        os._exit(code)
