"""A progress bar with the time that is left."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lycoris_ext.sampling.sample import Progress


@contextmanager
def progress_bar(label: str) -> Iterator[Progress]:
    """Show a bar for the time of a `with` block; what it yields goes into `sample_pictures`.

    Where the output is no terminal it shows seldom, so that logs stay readable.
    """
    from tqdm import tqdm

    layout = "{desc} {percentage:3.0f}% |{bar}| {elapsed} passed, {remaining} left"
    seconds = 0.2 if sys.stderr.isatty() else 10.0
    with tqdm(total=1, desc=label, bar_format=layout, mininterval=seconds) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
