"""Kill a training run again and again with SIGKILL, and compare its result with an unbroken run's.

    python benchmarks/resume_kills.py --kills 20 --json resume_kills.json

All options that could make the results differ are on: AdamW8bit with 8-bit state, shuffled and
dropped captions, mirrored pictures, all dropouts, a learning rate schedule, two loader workers and
two batches per step. At least 3 in 10 kills happen while a file is being written (writes are slowed
down for that), the others at a random moment. All adapters of both runs are compared byte by byte.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from lycoris_ext.runs.events import read_events
from lycoris_ext.runs.paths import RunPaths

ROOT = Path(__file__).resolve().parent.parent
NAME = "killed"
SLOW_WRITE = "LYCORIS_EXT_SLOW_WRITE_SECONDS"
PATIENCE = 1800.0
"""Seconds after which a run without progress counts as stuck."""


@dataclass
class Kill:
    """One SIGKILL: the last step before it, and the file that was being written, or ""."""

    after_step: int
    inside_write: str


@dataclass
class Report:
    """The result: the kills, and whether both runs wrote the same.

    Args:
        kills: the kills, in order.
        starts: how often the killed run was started.
        identical: whether both runs wrote the same adapters.
        files: adapter's file name -> whether both runs wrote the same bytes.
        steps_logged_once: whether both event files hold every step exactly once.
        eight_bit_tensors: number of 8-bit tensors in the optimizer's state.
        seconds: duration of everything.
    """

    kills: list[Kill]
    starts: int
    identical: bool
    files: dict[str, bool]
    steps_logged_once: bool
    eight_bit_tensors: int
    seconds: float

    @property
    def kills_inside_write(self) -> int:
        return sum(bool(kill.inside_write) for kill in self.kills)


def config_text(base: Path, pictures: Path, *, steps: int, workers: int) -> str:
    """Return the TOML config of the run that is killed."""
    return f"""
pretrained_model_name_or_path = {json.dumps(base.as_posix())}
train_data_dir = {json.dumps(pictures.as_posix())}
output_name = "{NAME}"
resolution = 32
train_batch_size = 2
max_data_loader_n_workers = {workers}
shuffle_caption = true
keep_tokens = 1
caption_dropout_rate = 0.2
caption_tag_dropout_rate = 0.2
flip_aug = true
algo = "loha"
network_dim = 24
dropout = 0.1
rank_dropout = 0.1
module_dropout = 0.1
optimizer_type = "AdamW8bit"
learning_rate = 1e-3
text_encoder_lr = 5e-4
lr_scheduler = "cosine"
lr_warmup_steps = 4
min_snr_gamma = 5.0
noise_offset = 0.05
gradient_accumulation_steps = 2
max_train_steps = {steps}
save_every_n_steps = 3
save_state_every_n_steps = 2
device = "cpu"
"""


def start(
    config: Path, output: Path, *, threads: int, slow: float = 0.0
) -> subprocess.Popen[bytes]:
    """Start `lycoris-ext train` in a process; `slow` is the seconds that each write is slowed."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",
        SLOW_WRITE: str(slow) if slow else "",
    }
    if not slow:
        del environment[SLOW_WRITE]
    command = [sys.executable, "-m", "lycoris_ext", "train", str(config)]
    with open(output.with_suffix(".log"), "ab") as log:
        return subprocess.Popen(
            [*command, "--output_dir", str(output)],
            env=environment,
            cwd=output.parent,
            stdout=log,
            stderr=log,
        )


def last_step(output: Path) -> int:
    """Return the last step in a run's event file, or 0."""
    events = read_events(RunPaths(output, NAME).events)
    return max((event["step"] for event in events if event["event"] == "step"), default=0)


def being_written(output: Path, process: subprocess.Popen[bytes]) -> str:
    """Return the name of the file that a process is writing at this moment, or ""."""
    pattern = f".{NAME}*.{process.pid}-*.tmp"
    found = sorted(path.name for path in output.glob(pattern)) if output.is_dir() else []
    return found[0] if found else ""


def kill_inside_write(process: subprocess.Popen[bytes], output: Path, rng: random.Random) -> str:
    """Kill a run while it writes a state or an adapter; return the file's name, or "" if missed."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        name = being_written(output, process)
        if ".state." in name or ".safetensors." in name:
            time.sleep(rng.uniform(0.0, 0.3))
            process.kill()
            process.wait()
            return being_written(output, process)
        time.sleep(0.002)
    return ""


def kill_at_random(process: subprocess.Popen[bytes], output: Path, rng: random.Random) -> str:
    """Kill a run while it starts, or a random time after some more steps.

    Returns:
        The name of the file that was being written, or "".
    """
    deadline = time.monotonic() + PATIENCE
    if rng.random() < 0.2:
        time.sleep(rng.uniform(0.0, 6.0))
    else:
        target = last_step(output) + rng.randint(1, 4)
        while process.poll() is None and last_step(output) < target:
            if time.monotonic() > deadline:
                break
            time.sleep(0.005)
        time.sleep(rng.uniform(0.0, 0.5))
    process.kill()
    process.wait()
    return being_written(output, process)


def digests(output: Path) -> dict[str, str]:
    """Return file name -> SHA-256 of every adapter that a run wrote."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(output.glob(f"{NAME}*.safetensors"))
    }


def logged_once(output: Path, steps: int) -> bool:
    """Return whether a run's event file holds every step exactly once and in order."""
    text = RunPaths(output, NAME).events.read_text("utf-8")
    events = [json.loads(line) for line in text.splitlines()]
    logged = [event["step"] for event in events if event["event"] == "step"]
    return logged == list(range(1, steps + 1))


def finish(process: subprocess.Popen[bytes], output: Path) -> None:
    """Wait for a run to end; if it fails, print its log and exit."""
    try:
        code = process.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    if code:
        sys.stderr.write(output.with_suffix(".log").read_text("utf-8", errors="replace"))
        raise SystemExit(f"the run ended with exit code {code}")


def eight_bit_tensors(output: Path) -> int:
    """Count the 8-bit tensors in the optimizer's saved state."""
    import torch

    from lycoris_ext.runs.state import load_state

    saved = load_state(RunPaths(output, NAME).state)
    assert saved is not None
    return sum(tensor.dtype == torch.uint8 for tensor in saved.optimizer_tensors)


def any_threads(folder: Path, rng: random.Random, first: int) -> int:
    """Draw a number of threads for a run that continues; return `first` for one that begins."""
    return rng.choice((1, 2)) if RunPaths(folder, NAME).state.exists() else first


def kill_again_and_again(
    config: Path, folder: Path, in_writes: list[bool], rng: random.Random, threads: int
) -> tuple[list[Kill], int]:
    """Start the run and kill it, once for each entry of `in_writes`.

    Args:
        config: of the run.
        folder: of its output.
        in_writes: for each kill, whether it must happen while a file is being written.
        rng: draws moments and numbers of threads.
        threads: torch threads of the first start.

    Returns:
        The kills, and how often the run was started for them.
    """
    done: list[Kill] = []
    starts = 0
    while len(done) < len(in_writes):
        want_write = in_writes[len(done)]
        slow = 0.6 if want_write else 0.0
        process = start(config, folder, threads=any_threads(folder, rng, threads), slow=slow)
        starts += 1
        hit = (kill_inside_write if want_write else kill_at_random)(process, folder, rng)
        if process.returncode == 0:
            raise SystemExit(f"the run was over after {len(done)} kills; give it more steps")
        if process.returncode is None:
            process.kill()
            process.wait()
        if want_write and not hit:
            continue
        done.append(Kill(last_step(folder), hit))
        print(f"kill {len(done)} after step {done[-1].after_step} {hit}", file=sys.stderr)
    return done, starts


def run_kills(
    folder: Path,
    *,
    kills: int,
    inside: int,
    steps: int,
    workers: int,
    seed: int,
    threads: int = 1,
    unbroken: Callable[[Path, Path], None] | None = None,
) -> Report:
    """Do a run without kills and one with kills, and compare their files.

    Args:
        folder: an empty folder for all files.
        kills: number of SIGKILLs.
        inside: how many of them at least must happen while a file is being written.
        steps: optimizer steps of each run.
        workers: loader processes.
        seed: seed of the random moments.
        threads: torch threads of the run without kills. The killed run is restarted with random
            numbers of threads, and must use the number that its state records.
        unbroken: does the run without kills, given config and output folder; None starts a process.
    """
    from tests.tiny_pictures import write_pictures
    from tests.tiny_pipeline import write_tiny_folder

    began = time.monotonic()
    base = write_tiny_folder(folder / "base")
    pictures = write_pictures(folder / "pictures", count=7)
    config = folder / "run.toml"
    config.write_text(config_text(base, pictures, steps=steps, workers=workers), encoding="utf-8")
    whole, broken = folder / "whole", folder / "broken"
    if unbroken is None:
        finish(start(config, whole, threads=threads), whole)
    else:
        unbroken(config, whole)

    rng = random.Random(seed)
    in_writes = [True] * inside + [False] * (kills - inside)
    rng.shuffle(in_writes)
    done, starts = kill_again_and_again(config, broken, in_writes, rng, threads)
    finish(start(config, broken, threads=any_threads(broken, rng, threads)), broken)
    expected, found = digests(whole), digests(broken)
    return Report(
        kills=done,
        starts=starts + 1,
        identical=expected == found and RunPaths(broken, NAME).adapter.name in expected,
        files={name: found.get(name) == digest for name, digest in expected.items()},
        steps_logged_once=logged_once(broken, steps) and logged_once(whole, steps),
        eight_bit_tensors=eight_bit_tensors(broken),
        seconds=round(time.monotonic() - began, 1),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--inside-write", type=int, default=None, help="default: 3 in 10")
    parser.add_argument("--steps", type=int, default=None, help="default: 8 per kill")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file to write the report into")
    options = parser.parse_args()
    inside = options.inside_write
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        report = run_kills(
            Path(folder),
            kills=options.kills,
            inside=-(-options.kills * 3 // 10) if inside is None else inside,
            steps=options.steps or 8 * options.kills,
            workers=options.workers,
            seed=options.seed,
            threads=options.threads,
        )
    text = json.dumps({**asdict(report), "kills_inside_write": report.kills_inside_write}, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0 if report.identical and report.steps_logged_once else 1


if __name__ == "__main__":
    sys.exit(main())
