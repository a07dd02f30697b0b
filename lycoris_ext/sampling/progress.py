"""A progress bar in the terminal that shows the remaining time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lycoris_ext.sampling.sample import Progress


@contextmanager
def progress_bar(label: str) -> Iterator[Progress]:
    """Show a progress bar for the time of a `with` block.

    It is redrawn every 0.2 seconds in a terminal and every 10 seconds in a log.

    Args:
        label: text before the bar.

    Yields:
        The callback that moves the bar, to be passed as `progress` to `sample_pictures`.
    """
    from tqdm import tqdm

    layout = "{desc} {percentage:3.0f}% |{bar}| {elapsed} passed, {remaining} left"
    seconds = 0.2 if sys.stderr.isatty() else 10.0
    with tqdm(total=1, desc=label, bar_format=layout, mininterval=seconds) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
