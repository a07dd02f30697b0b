"""Stands for TensorBoard's writer, which need not be installed where the trials run.

It writes at once what TensorBoard's writes later, and fails as that does where the disk is full.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any


def install() -> None:
    """Let ``torch.utils.tensorboard`` be the stand-in in this process."""
    module: Any = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    sys.modules["torch.utils.tensorboard"] = module


class Writer:
    """What our code uses of SummaryWriter."""

    def __init__(self, folder: str, purge_step: int | None = None) -> None:
        self.file = Path(folder, "events")
        self.file.parent.mkdir(parents=True, exist_ok=True)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self._write(f"{name} {value} {step}\n")

    def flush(self) -> None:
        self._write("flushed\n")

    def close(self) -> None:
        self._write("closed\n")

    def _write(self, line: str) -> None:
        with open(self.file, "a", encoding="utf-8") as file:
            file.write(line)
