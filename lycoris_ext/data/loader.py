"""Iterate over batches, prepared by the main process or by worker processes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess
from typing import NamedTuple

from torch.utils.data import DataLoader, Dataset

from lycoris_ext.data.dataset import BatchPlan, TrainingSet
from lycoris_ext.data.pixels import with_pixels
from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.workers import WorkerContext

WORKERS_PER_CORE = 4
"""Worker processes that a core may have."""


class _Fault(NamedTuple):
    """A DataError on its way from a worker process; torch would wrap it into a traceback."""

    what: str
    where: str | None
    fix: str | None


class _Plans(Dataset[BatchPlan | _Fault]):
    """The batches of a training set as a torch Dataset, which workers get as a pickle."""

    def __init__(self, training_set: TrainingSet) -> None:
        self.training_set = training_set

    def __getitem__(self, number: int) -> BatchPlan | _Fault:
        try:
            return with_pixels(self.training_set, self.training_set.batch_at(number))
        except DataError as error:
            return _Fault(error.what, error.where, error.fix)

    def __len__(self) -> int:
        return self.training_set.batches_per_epoch


def check_workers(workers: int) -> None:
    """Refuse more worker processes than this machine can use; each takes some 150 MB of memory.

    Args:
        workers: max_data_loader_n_workers.

    Raises:
        ConfigError: it is more than ``WORKERS_PER_CORE`` for each core, and more than 8, the
            default of sd-scripts.
    """
    cores = os.cpu_count() or 1
    most = max(8, WORKERS_PER_CORE * cores)
    if workers > most:
        raise ConfigError(
            f"max_data_loader_n_workers is {workers}, and on a machine of {cores} cores at most "
            f"{most} processes are started",
            where="max_data_loader_n_workers",
            fix="0 or 1 is enough where latents are cached",
        )


def _live_with_the_main_process(worker: int) -> None:
    # A terminal sends Ctrl-C to every process; the main one finishes its step and needs batches.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # torch's own watchdog remembers the parent's id only from here on. If the main process was
    # killed before, while this one imported torch, the watchdog would never notice. On Windows
    # `Worker` does not either.
    threading.Thread(target=_leave_after, args=(parent_process(),), daemon=True).start()


def _leave_after(main_process: BaseProcess | None) -> None:
    if main_process is not None:
        main_process.join()
        os._exit(0)


def iterate_batches(training_set: TrainingSet, first: int, stop: int) -> Iterator[BatchPlan]:
    """Yield the batches from number `first` to `stop` - 1, in order.

    max_data_loader_n_workers processes prepare them, with the pixels of pictures that are drawn
    anew; their number does not change the batches.

    Raises:
        DataError: such a picture file changed since it was checked.
    """
    workers = training_set.config.max_data_loader_n_workers
    # Workers are spawned, as on Windows: a process that uses a GPU must not be forked.
    loader = DataLoader(
        _Plans(training_set),
        batch_size=None,
        sampler=range(first, stop),
        num_workers=workers,
        multiprocessing_context=WorkerContext() if workers else None,
        prefetch_factor=2 if workers else None,
        worker_init_fn=_live_with_the_main_process,
    )
    for plan in loader:
        if isinstance(plan, _Fault):
            raise DataError(plan.what, where=plan.where, fix=plan.fix)
        yield plan
