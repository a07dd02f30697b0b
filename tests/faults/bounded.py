"""Reading files in a forked process whose memory and time are bounded."""

from __future__ import annotations

import os
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from lycoris_ext.errors import LycorisExtError
from tests.faults.trials import Trial

NEEDS = "" if sys.platform == "linux" else "only Linux bounds the memory of a forked process"
MEMORY = 400 << 20
"""Bytes that a file of some MB may take, on top of what the process has anyway."""
_PATIENCE = 30
"""Seconds after which a file counts as one that takes minutes, however busy the machine is."""
_LONGEST = 1500
"""Letters of an error: files hold names of any length."""

_ASKED: list[str] = []
Read = Callable[[], object]


def read_or_refused(reads: Iterable[tuple[str, Read]]) -> Iterator[Trial]:
    """Try to read files, each of which may be read or refused.

    Args:
        reads: what each is, on one line, and how it is read.

    Yields:
        The trials. Bad is every error but one of ours, an error of many lines or letters, much
        memory or time, and the end of the process.
    """
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of threads and forks
        child = os.fork()
    if not child:
        os.close(reader)
        _be(reads, writer)
    os.close(writer)
    begun = ""
    with open(reader, encoding="utf-8") as lines:
        for line in lines:
            kind, _, told = line.rstrip("\n").partition(" ")
            if kind == "begun":
                begun = told
            elif kind == "bad":
                yield Trial(begun, told)
                begun = ""
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended:
        yield Trial(begun, f"the process ended with {ended}")


def _be(reads: Iterable[tuple[str, Read]], writer: int) -> None:
    """Be the forked process: never returns."""
    import resource  # not on Windows

    code = 1
    try:
        torch.set_num_threads(1)  # a fork has none of its parent's threads
        signal.signal(signal.SIGALRM, _too_slow)
        pages = int(Path("/proc/self/statm").read_text("utf-8").split()[0])
        most = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        with open(writer, "w", encoding="utf-8", errors="replace", buffering=1) as lines:
            silence = os.open(os.devnull, os.O_WRONLY)
            for stream in (1, 2):  # libraries tell there what they think of the files
                os.dup2(silence, stream)
            socket.getaddrinfo = _no_network
            for name, read in reads:
                lines.write(f"begun {name}\n")
                bad = " ".join(_outcome(read).split())
                lines.write(f"bad {bad}\n")
        code = 0
    finally:
        os._exit(code)


def _no_network(*_place: object, **_more: object) -> Any:
    _ASKED.append("asked the network")
    raise OSError("there is no network here")


def _outcome(read: Read) -> str:
    signal.alarm(_PATIENCE)
    try:
        read()
    except LycorisExtError as error:
        said = str(error)
        if len(said) > _LONGEST:
            return f"an error of {len(said):,} letters: {said[:200]}"
    except MemoryError:
        return f"took more than {MEMORY >> 20} MB"
    except TimeoutError:
        return f"took more than {_PATIENCE} s"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is not one of ours
        return f"{type(error).__name__}: {str(error)[:200]}"
    finally:
        signal.alarm(0)
    return _ASKED.pop() if _ASKED else ""


def _too_slow(_number: int, _frame: Any) -> None:
    raise TimeoutError
