"""The event log of a run with flipped bits and cut ends."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lycoris_ext.errors import DataError
from lycoris_ext.runs.events import EventLog
from lycoris_ext.runs.losses import read_losses
from lycoris_ext.training.checkpoints import delete_checkpoints, record_checkpoint
from tests.faults.trials import Kind, Trial


def _damaged(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    """Go on with a run: the log is read, and old checkpoints are deleted, those alone."""
    chance, log = random.Random(seed), EventLog(folder / "x.events.jsonl")
    saved = [folder / f"x-step-{step}.safetensors" for step in (2, 4)]
    for place, path in enumerate(saved):
        path.write_text(f"content {place}")
    for step in (1, 2, 3, 4):
        log.write("step", step, loss=0.5, average=0.5)
        if step in (2, 4):
            record_checkpoint(log, step, [saved[step // 2 - 1]])
    whole = log.path.read_bytes()
    for _ in range(number):
        damaged = bytearray(whole)
        place, cut = chance.randrange(len(whole)), chance.random() < 0.2
        if cut:
            del damaged[place:]
        else:
            damaged[place] ^= 1 << chance.randrange(8)
        log.path.write_bytes(damaged)
        for path in saved:
            path.write_text(f"content {saved.index(path)}")
        yield Trial(f"{'cut' if cut else 'bit'} at byte {place} of {len(whole)}", _read(log, saved))


def _read(log: EventLog, saved: list[Path]) -> str:
    try:
        log.continue_after(4)
        with suppress(DataError):  # words, where no step is left
            read_losses(log.path)
        delete_checkpoints(log, unless=lambda step: step == 4)
    except Exception as error:  # noqa: BLE001 - what is looked for
        return f"{type(error).__name__}: {error}"
    return "" if log.path.exists() else "the log is gone"


KINDS = [Kind("a run's event log, damaged", _damaged, 100, 1000)]
