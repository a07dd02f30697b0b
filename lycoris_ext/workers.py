"""Processes that end with the one that started them, whatever ends it.

multiprocessing and torch see to this once a process is up. While it still imports torch, which
takes a busy machine a minute, nobody does: this module imports nothing heavy, and a new process
reads the class of its ``Process`` before anything else.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

_PAUSE = 0.5
"""Seconds between two looks at the parent."""


class Worker(SpawnProcess):
    """A new process that ends soon after the process that started it."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Unpickling calls the function before it reads __dict__, which holds what to run.
        return _begin, (type(self), os.getpid()), self.__dict__


class WorkerContext(SpawnContext):
    """multiprocessing's context of new processes, as on Windows, that are a ``Worker`` each."""

    Process = Worker


def _begin(kind: type[Worker], parent: int) -> Worker:
    if sys.platform != "win32":  # there a process keeps the number of a parent that is gone
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()
    return kind.__new__(kind)


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PAUSE)
    os._exit(1)
