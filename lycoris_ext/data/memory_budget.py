"""A bound on the bytes that several threads use at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class MemoryBudget:
    """A number of bytes of which threads take their share; who finds too few left waits.

    A thread that holds a share must not ask for another one of the same budget, because all threads
    could then wait for each other.

    Args:
        total: the number of bytes; nobody may ask for more.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = total
        self._changed = threading.Condition()

    @contextmanager
    def share(self, size: int) -> Iterator[None]:
        """Hold some bytes inside the ``with``, as soon as they are free.

        Args:
            size: at most ``total``.

        Raises:
            ValueError: it is more than there ever will be.
        """
        if size > self.total:
            raise ValueError(f"{size} bytes of a budget of {self.total}")
        with self._changed:
            self._changed.wait_for(lambda: size <= self._free)
            self._free -= size
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify_all()
