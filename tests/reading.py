"""Counts which files are opened in a test, and how many bytes are read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_IO = Path("/proc/self/io")


@dataclass
class Reading:
    """What happened inside a ``with`` block.

    Args:
        opened: paths in the order in which they were opened.
        bytes_read: of all files together, memory maps left out; None where the system does not
            count them.
    """

    opened: list[str] = field(default_factory=list)
    bytes_read: int | None = None


_watching: list[Reading] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _watching:
        path, mode = str(arguments[0]), arguments[1]
        opened = _watching[-1].opened
        if mode is not None or opened[-1:] != [path]:  # else it is the opener of the same open()
            opened.append(path)


sys.addaudithook(_hook)  # one for ever: Python takes none away again


@contextmanager
def reading() -> Iterator[Reading]:
    """Count what is opened and read inside the ``with``."""
    found = Reading()
    before = _bytes_read()
    _watching.append(found)
    try:
        yield found
    finally:
        _watching.remove(found)
        after = _bytes_read()
        found.bytes_read = None if after is None or before is None else after - before


def _bytes_read() -> int | None:
    try:
        return int(_IO.read_text("ascii").split()[1])  # "rchar: 1234"
    except (OSError, IndexError, ValueError):
        return None
