"""Short trainings in processes that are forked from one that has torch imported already.

A forked process trains in a second or two where a new one takes ten. What is to go wrong in it is a
list of faults: functions that it calls before the training begins. Almost everything that the
results could depend on is switched on: 8-bit states, shuffled and dropped captions, mirrored
pictures, all dropouts, a schedule. "The same" means that every adapter has the bytes of an
undisturbed training's.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lycoris_ext.runs.events import read_events
from lycoris_ext.runs.paths import RunPaths
from lycoris_ext.runs.state import load_state
from tests.faults import tensorboard_stand_in
from tests.tiny_pictures import write_pictures
from tests.tiny_pipeline import write_tiny_folder

if TYPE_CHECKING:  # Windows has no such processes
    from multiprocessing.context import ForkServerContext, ForkServerProcess

NEEDS = "" if sys.platform == "linux" else "it forks processes: Linux alone"
NAME = "x"
STEPS = 6
PATIENCE = 600.0
"""Seconds after which a training that should have ended counts as stuck."""

Fault = Callable[[], object]

_HEAVY = (
    "torch",
    "bitsandbytes",
    "accelerate",
    "tyro",
    "tqdm",
    "diffusers.models.unets.unet_2d_condition",
    "diffusers.models.autoencoders.autoencoder_kl",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
)


_SIGNALS: dict[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    getattr(signal, "SIGHUP", signal.SIGTERM): signal.SIG_DFL,
}


def config_text(base: Path, pictures: Path, *, steps: int = STEPS, workers: int = 0) -> str:
    """Return the TOML config of the training."""
    return f"""
pretrained_model_name_or_path = {json.dumps(base.as_posix())}
train_data_dir = {json.dumps(pictures.as_posix())}
output_name = "{NAME}"
cache_latents_to_disk = true
resolution = 32
train_batch_size = 2
max_data_loader_n_workers = {workers}
shuffle_caption = true
keep_tokens = 1
caption_dropout_rate = 0.2
caption_tag_dropout_rate = 0.2
flip_aug = true
algo = "loha"
preset = "attn-mlp"
network_dim = 24
dropout = 0.1
rank_dropout = 0.1
module_dropout = 0.1
optimizer_type = "AdamW8bit"
learning_rate = 1e-3
text_encoder_lr = 5e-4
lr_scheduler = "cosine"
lr_warmup_steps = 2
min_snr_gamma = 5.0
noise_offset = 0.05
gradient_accumulation_steps = 2
max_train_steps = {steps}
save_every_n_steps = 3
save_state_every_n_steps = 2
device = "cpu"
"""


@dataclass(frozen=True)
class Break:
    """Something that happens when a function is called for the nth time in the training.

    Args:
        place: the function, as "module:name".
        call: when, counted from 1; 0: at every call.
        do: what happens.
        after: it happens when the call is done, instead of before it.
    """

    place: str
    call: int
    do: Fault
    after: bool = False

    def __call__(self) -> None:
        module, _, name = self.place.partition(":")
        owner: Any = __import__(module, fromlist=["_"])
        real = getattr(owner, name)
        calls = 0

        def counted(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            due = self.call in (0, calls)
            if due and not self.after:
                self.do()
            result = real(*arguments, **named)
            if due and self.after:
                self.do()
            return result

        setattr(owner, name, counted)


def at_step(step: int, do: Fault) -> Break:
    """Return the fault that something happens just before a step, counted from 1."""
    return Break("lycoris_ext.training.train:train_step", step, do)


def failing(number: int) -> Fault:
    """Return a function that raises the operating system's error of that number."""
    return partial(_fail, number)


def _fail(number: int) -> None:
    raise OSError(number, os.strerror(number))


@dataclass(frozen=True)
class Ended:
    """How a training ended: its exit code, negative for a signal, and what it said."""

    code: int | None
    said: str

    def bad(self, *codes: int) -> str:
        """Return what is bad about it if it should have ended with one of some exit codes."""
        if "Traceback" in self.said:
            return f"traceback: {self.said.strip().splitlines()[-1]}"
        return "" if self.code in codes else f"exit code {self.code}, not {codes}: {self.said}"


class Training:
    """One training in a folder of its own, that can be started again and again.

    Args:
        folder: an empty folder, which becomes that of pictures, config and outputs.
        more: further lines of its config; paths in it are relative to the folder.
        steps, workers: as in ``config_text``.
    """

    def __init__(
        self, folder: Path, more: str = "", *, steps: int = STEPS, workers: int = 0
    ) -> None:
        self.folder, self.more, self.steps, self.workers = folder, more, steps, workers
        self.pictures = write_pictures(folder / "pictures", count=7)
        self.out = folder / "out"
        self.log = folder / "log"
        self.config = folder / "run.toml"
        text = config_text(_base(), self.pictures, steps=steps, workers=workers)
        self.config.write_text(text + more, encoding="utf-8")

    @property
    def command(self) -> list[str]:
        return ["train", str(self.config), "--output_dir", str(self.out)]

    def start(self, *faults: Fault, threads: int = 1) -> ForkServerProcess:
        """Start the training with some faults in a process, and return the process."""
        self.log.unlink(missing_ok=True)
        process = _context().Process(
            target=_train, args=(self.command, self.log, self.folder, faults, threads)
        )
        process.start()
        return process

    def ended(self, process: ForkServerProcess) -> Ended:
        """Wait until a process has ended; one that does not is killed."""
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
            process.join()
        said = self.log.read_text("utf-8", errors="replace") if self.log.exists() else ""
        return Ended(process.exitcode, said)

    def run(self, *faults: Fault, threads: int = 1) -> Ended:
        """Train with some faults, and wait for the end."""
        return self.ended(self.start(*faults, threads=threads))

    def last_step(self) -> int:
        """Return the last step in the event log, or 0."""
        events = read_events(RunPaths(self.out, NAME).events)
        return max((event["step"] for event in events if event["event"] == "step"), default=0)

    def unfinished(self) -> list[str]:
        """Return the names of temporary files in the run's folder."""
        return sorted(path.name for path in self.out.glob(".*.tmp"))

    def resumed(self, *, whole: bool = True) -> str:
        """Run it again undisturbed; return "" if it ends in the same files, else what is bad.

        Args:
            whole: False where the fault itself has deleted what was there: then the last adapter
                alone counts.
        """
        return self.run().bad(0) or self.differs(whole=whole)

    def differs(self, *, whole: bool = True) -> str:
        """Return "" if a finished training wrote what an undisturbed one does, else what is bad."""
        found = digests(self.out)
        expected = undisturbed(self.more, self.steps, self.workers).files
        names = expected if whole else [RunPaths(self.out, NAME).adapter.name]
        other = [name for name in names if found.get(name) != expected[name]]
        if other:
            return f"another adapter than without the fault, or none: {', '.join(other)}"
        events = read_events(RunPaths(self.out, NAME).events)
        logged = [event["step"] for event in events if event["event"] == "step"]
        if whole and logged != list(range(1, self.steps + 1)):
            return f"steps were logged as {logged}"
        left = [*self.unfinished(), *(path.name for path in self.out.glob(".*.lock"))]
        return f"left behind: {', '.join(left)}" if left else ""


def digests(folder: Path) -> dict[str, str]:
    """Return file name -> SHA-256 of every adapter that a training wrote."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob(f"{NAME}*.safetensors"))
    }


@dataclass(frozen=True)
class Undisturbed:
    """What a training does when nothing goes wrong.

    Args:
        files: adapter's file name -> SHA-256.
        seconds: how long it takes.
        calls: function -> how often it is called, of ``COUNTED``.
        written: bytes that it writes, about.
    """

    files: dict[str, str]
    seconds: float
    calls: dict[str, int]
    written: int


COUNTED = ("os:fsync", "os:replace")


@cache
def undisturbed(more: str = "", steps: int = STEPS, workers: int = 0) -> Undisturbed:
    """Train without any fault; the arguments are those of ``Training``."""
    folder = Path(tempfile.mkdtemp(dir=_folder()))
    training = Training(folder / "run", more, steps=steps, workers=workers)
    tallies = {place: training.folder / place.replace(":", ".") for place in COUNTED}
    counting = [Break(place, 0, partial(_tally, tallies[place])) for place in COUNTED]
    training.run()  # so that the next one takes no longer than usual
    shutil.rmtree(training.out)
    began = time.monotonic()
    ended = training.run(*counting)
    seconds = time.monotonic() - began
    assert ended.code == 0, ended.said
    calls = {place: tally.stat().st_size for place, tally in tallies.items()}
    saved = load_state(RunPaths(training.out, NAME).state)
    assert saved is not None
    assert any(t.dtype == torch.uint8 for t in saved.optimizer_tensors), "no 8-bit state is tried"
    sizes = [path.stat().st_size for path in training.out.rglob("*") if path.is_file()]
    replaced = 2 * RunPaths(training.out, NAME).state.stat().st_size
    return Undisturbed(digests(training.out), seconds, calls, sum(sizes) + replaced)


def _tally(file: Path) -> None:
    with file.open("ab") as tally:
        tally.write(b".")


@cache
def _folder() -> Path:
    """Return a folder that is deleted when this process ends."""
    folder = tempfile.TemporaryDirectory(prefix="lycoris-ext-faults-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


@cache
def _base() -> Path:
    return write_tiny_folder(_folder() / "base")


@cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_HEAVY))
    return context


def _train(
    command: Sequence[str], log: Path, cwd: Path, faults: Sequence[Fault], threads: int
) -> None:
    """Be the process that trains: what ``python -m lycoris_ext`` does, after some faults."""
    from tqdm import tqdm

    tqdm.set_lock(threading.RLock())  # its usual lock outlives a process that is killed
    for name, usual in _SIGNALS.items():  # whatever started the tests may ignore some
        signal.signal(name, usual)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.chdir(cwd)
    torch.set_num_threads(threads)
    tensorboard_stand_in.install()
    from lycoris_ext.cli import main

    for fault in faults:
        fault()
    sys.exit(main(command))
