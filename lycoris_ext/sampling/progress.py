"""A progress bar in the terminal that shows the remaining time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOBase
from typing import Any

from lycoris_ext.sampling.sample import Progress


@contextmanager
def progress_bar(label: str) -> Iterator[Progress]:
    """Show a progress bar for the time of a `with` block.

    Args:
        label: text before the bar.

    Yields:
        The callback that moves the bar, to be passed as `progress` to `sample_pictures`.
    """
    from tqdm import tqdm

    layout = "{desc} {percentage:3.0f}% |{bar}| {elapsed} passed, {remaining} left"
    with tqdm(total=1, desc=label, bar_format=layout, **bar_options()) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


@contextmanager
def counting_pictures(what: str, total: int) -> Iterator[Callable[[int], object]]:
    """Show a bar that counts pictures, with the time that is left, for a ``with`` block.

    Args:
        what: text before the bar, such as "checking".
        total: number of all pictures.

    Yields:
        A function to call with the number of pictures done since its last call.
    """
    from tqdm import tqdm

    with tqdm(desc=what, unit=" pictures", total=total, leave=False, **bar_options()) as bar:
        yield bar.update


def bar_options(log: TextIOBase | None = None) -> dict[str, Any]:
    """Return tqdm's options for where stderr goes.

    A bar is redrawn every 0.2 seconds in a terminal. In a log, each state that is shown is a line
    of its own, every 10 seconds. A bar appears after half a second, so that short work shows none.

    Args:
        log: where bars go in place of stderr; it is a log in any case.
    """
    if log is None and sys.stderr.isatty():
        return {"mininterval": 0.2, "delay": 0.5}
    return {"mininterval": 10.0, "delay": 0.5, "file": _Lines(log)}


class _Lines:
    """A stream (None: stderr) as a file in which each state of a bar becomes a line."""

    def __init__(self, log: TextIOBase | None) -> None:
        self.log = log

    def write(self, text: str) -> None:
        line = text.strip()
        if line:
            (self.log or sys.stderr).write(f"{line}\n")

    def flush(self) -> None:
        (self.log or sys.stderr).flush()
