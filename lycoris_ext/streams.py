"""Standard output and error that a program can lose without being ended by it.

A log's disk gets full, `head` has read enough, a terminal or a notebook goes away. Whoever prints
then gets an OSError from `print`, tqdm or `logging`, in the middle of something else. These streams
note the error and drop the text.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class Nowhere(io.TextIOBase):
    """What is written to it is gone."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        return len(text)


class LastingStream:
    """A text stream whose writes never fail.

    Args:
        stream: the stream. Python has None where the descriptor is closed: then nothing is written.

    Attributes:
        lost: the error since which nothing is written; None as long as it works.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream or Nowhere()
        self.lost: Exception | None = None

    def write(self, text: str) -> int:
        if self.lost is None:
            try:
                self.stream.write(text)
            except UnicodeEncodeError as error:  # a program that set it to ASCII, and no utf-8
                known = text.encode(error.encoding, "replace").decode(error.encoding)
                self.write(known)
            except Exception as error:  # noqa: BLE001 - a notebook's stream raises what it likes
                self._lose(error)
        return len(text)

    def flush(self) -> None:
        if self.lost is None:
            try:
                self.stream.flush()
            except Exception as error:  # noqa: BLE001 - as in `write`
                self._lose(error)

    def isatty(self) -> bool:
        return self.lost is None and self.stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _lose(self, error: Exception) -> None:
        self.lost = error
        if not isinstance(self.stream, io.TextIOWrapper):
            return  # a notebook's, whose number belongs to the whole program
        # What lies in its buffer would fail again when Python ends, and change the exit code.
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)


@contextmanager
def lasting_streams() -> Iterator[LastingStream]:
    """Make sys.stdout and sys.stderr last for a ``with`` block; those that do already stay.

    Yields:
        Standard output.
    """
    before = sys.stdout, sys.stderr
    out, err = (each if isinstance(each, LastingStream) else LastingStream(each) for each in before)
    sys.stdout, sys.stderr = out, err
    try:
        yield out
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before
