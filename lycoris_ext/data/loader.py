"""Batches in order, prepared by the main process or by workers; the batches are the same."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess

from torch.utils.data import DataLoader, Dataset

from lycoris_ext.data.dataset import BatchPlan, TrainingSet


class _Plans(Dataset[BatchPlan]):
    """The training set as torch's loader wants it; picklable, so that workers can be spawned."""

    def __init__(self, training_set: TrainingSet) -> None:
        self.training_set = training_set

    def __getitem__(self, number: int) -> BatchPlan:
        return self.training_set.batch_at(number)

    def __len__(self) -> int:
        return self.training_set.batches_per_epoch


def _live_with_the_main_process(worker: int) -> None:
    # A terminal sends Ctrl-C to every process; the main one finishes its step and needs batches.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # torch's own watch compares parent ids from here on: where the main process was killed while
    # this one still imported torch, it would wait for batches to prepare forever.
    threading.Thread(target=_leave_after, args=(parent_process(),), daemon=True).start()


def _leave_after(main_process: BaseProcess | None) -> None:
    if main_process is not None:
        main_process.join()
        os._exit(0)


def iterate_batches(training_set: TrainingSet, first: int, stop: int) -> Iterator[BatchPlan]:
    """Yield the batches numbered first to stop - 1.

    Workers are spawned, never forked: the same on every system, and no fork of a process that has a
    GPU open.
    """
    workers = training_set.config.max_data_loader_n_workers
    loader = DataLoader(
        _Plans(training_set),
        batch_size=None,
        sampler=range(first, stop),
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        prefetch_factor=2 if workers else None,
        worker_init_fn=_live_with_the_main_process,
    )
    yield from loader
