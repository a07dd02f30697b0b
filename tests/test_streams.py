"""Output that cannot be written ends nothing."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lycoris_ext.streams import LastingStream, lasting_streams

FULL = Path("/dev/full")


class Failing(io.StringIO):
    """A stream that fails from its nth write or flush on."""

    def __init__(self, error: Exception, works: int = 0) -> None:
        super().__init__()
        self.error, self.works = error, works

    def write(self, text: str) -> int:
        self._count()
        return super().write(text)

    def flush(self) -> None:
        self._count()

    def _count(self) -> None:
        self.works -= 1
        if self.works < 0:
            raise self.error


ERRORS = [
    BrokenPipeError(errno.EPIPE, "Broken pipe"),
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EIO, "Input/output error"),
    ValueError("I/O operation on closed file"),
]


@pytest.mark.parametrize("error", ERRORS, ids=str)
@pytest.mark.parametrize("works", range(4))
def test_a_stream_that_fails_is_noted_and_never_raises(error: Exception, works: int) -> None:
    inner = Failing(error, works)
    stream = LastingStream(inner)
    for _ in range(3):
        assert stream.write("line\n") == 5
        stream.flush()
    assert stream.lost is error and not stream.isatty()
    assert inner.getvalue() == "line\n" * ((works + 1) // 2)


class NotebookError(Exception):
    """As ZeroMQ's, which is no OSError."""


def test_a_notebook_that_goes_away_ends_nothing() -> None:
    inner = Failing(ValueError())
    inner.error = NotebookError("Socket operation on non-socket")
    number = os.dup(1)
    inner.fileno = lambda: number  # type: ignore[method-assign]
    stream = LastingStream(inner)
    assert stream.write("line") == 4
    stream.flush()
    assert isinstance(stream.lost, NotebookError)
    assert os.fstat(number) == os.fstat(1), "the program's own output stays where it is"
    os.close(number)


def test_a_stream_in_ascii_gets_what_it_can_write() -> None:
    raw = io.BytesIO()
    stream = LastingStream(io.TextIOWrapper(raw, encoding="ascii", newline="\n"))
    stream.write("été \ud800\n")
    stream.flush()
    assert raw.getvalue() == b"?t? ?\n" and stream.lost is None


def test_a_closed_descriptor_is_an_empty_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with lasting_streams() as printed:
        print("nobody reads this")
        assert not sys.stdout.isatty() and sys.stdout.encoding == "utf-8"
        with lasting_streams() as inner:
            assert inner is printed
    assert printed.lost is None and sys.stdout is None


def lycoris_ext(*arguments: str, **streams: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lycoris_ext", *arguments]
    usual = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run(command, text=True, timeout=60, check=False, **usual)  # type: ignore[call-overload,no-any-return]


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_full_disk_below_the_output_is_told_and_one_below_the_log_is_not() -> None:
    with FULL.open("w") as full:
        told = lycoris_ext("--help", stdout=full)
        assert told.returncode == 4 and "cannot be printed" in told.stderr
        assert "Traceback" not in told.stderr and "Exception ignored" not in told.stderr
        assert lycoris_ext("--version", stderr=full).returncode == 0
        assert lycoris_ext("nonsense", stderr=full).returncode == 2


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such descriptors")
def test_closed_streams_change_no_exit_code() -> None:
    for closed in (">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"):
        command = f'"{sys.executable}" -m lycoris_ext --help {closed}'
        assert subprocess.run(["sh", "-c", command], timeout=60, check=False).returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such pipes")
def test_a_reader_that_has_read_enough_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        told = lycoris_ext("--help", stdout=pipe)
    assert (told.returncode, told.stderr) == (0, "")
