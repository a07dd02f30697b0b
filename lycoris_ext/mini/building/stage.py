"""The training loop that all stages of the build share, with checkpoints, pauses and a log.

A stage can be killed at any moment and continues from its last checkpoint. Each step seeds its
random numbers with its own index, so that a resumed stage gives the same result.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Budget:
    """How long and on what a stage trains.

    Args:
        steps: total number of optimizer steps.
        workers: number of threads that share a step, see `shares.py`; 1 on a GPU.
        device: "cpu" or "cuda".
        pause_file: training pauses while this file exists, for example during a benchmark.
        checkpoint_seconds: time between two checkpoints.
        sample_seconds: time between two sample grids.
    """

    steps: int
    workers: int = 1
    device: str = "cpu"
    pause_file: Path | None = None
    checkpoint_seconds: float = 120.0
    sample_seconds: float = 300.0


def learning_rate(step: int, steps: int, peak: float, warmup: int = 200) -> float:
    """Return the learning rate of a step: linear warm-up, then cosine decay to peak / 100.

    Args:
        step: index of the step, from 0.
        steps: total number of steps.
        peak: the highest rate.
        warmup: number of warm-up steps.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    half_cosine = 0.5 * (1.0 + float(torch.cos(torch.tensor(done * torch.pi))))
    return peak * (0.01 + 0.99 * half_cosine)


def save_atomically(value: Any, path: Path) -> None:
    """Write a value with torch.save; if the process is killed, the old file stays intact."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with open(part, "wb") as stream:
        torch.save(value, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(part, path)


class Stage:
    """A training that can be resumed.

    Args:
        name: name of the stage in checkpoint, log and sample grids.
        folder: folder for checkpoint, log and sample grids.
        parts: models and optimizers to store in the checkpoint, by name.
        step: does the optimizer step of the given index and returns the values to log.
        sample: writes a grid of sample pictures to the given path.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        parts: dict[str, Any],
        step: Callable[[int], dict[str, float]],
        sample: Callable[[Path], None],
    ) -> None:
        self.name = name
        self.folder = folder
        self.parts = parts
        self.step = step
        self.sample = sample
        self.checkpoint = folder / f"{name}.ckpt"

    def _resume(self) -> int:
        if not self.checkpoint.is_file():
            return 0
        state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        for key, part in self.parts.items():
            part.load_state_dict(state[key])
        return int(state["step"])

    def _save(self, step: int) -> None:
        state: dict[str, Any] = {key: part.state_dict() for key, part in self.parts.items()}
        save_atomically({**state, "step": step}, self.checkpoint)

    def _log(self, values: dict[str, Any]) -> None:
        line = json.dumps({"stage": self.name, "time": round(time.time()), **values})
        print(line, flush=True)
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as stream:
            stream.write(line + "\n")

    def train(self, budget: Budget) -> None:
        """Train up to step `budget.steps`, starting from the last checkpoint if there is one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        start = self._resume()
        saved = sampled = logged = time.monotonic()
        sums: dict[str, float] = {}
        since = start
        for step in range(start, budget.steps):
            while budget.pause_file is not None and budget.pause_file.exists():
                time.sleep(2.0)
                logged += 2.0
            for key, value in self.step(step).items():
                sums[key] = sums.get(key, 0.0) + value
            now = time.monotonic()
            done = step + 1
            if done == budget.steps or done % 100 == 0:
                count = done - since
                means = {key: round(value / count, 5) for key, value in sums.items()}
                self._log(
                    {"step": done, "seconds_per_step": round((now - logged) / count, 4), **means}
                )
                sums, since, logged = {}, done, now
            if now - saved > budget.checkpoint_seconds:
                self._save(done)
                saved = now
            if now - sampled > budget.sample_seconds:
                self.sample(self.folder / "grids" / f"{self.name}-{done:06d}.png")
                sampled = time.monotonic()
                logged += sampled - now
        if start < budget.steps:
            self._save(budget.steps)
            self.sample(self.folder / "grids" / f"{self.name}-{budget.steps:06d}.png")
