"""The file of --log-file: what a command says, a line each, with the time before it."""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from lycoris_ext.errors import EnvironmentFault, LycorisExtError
from lycoris_ext.files import expanded, open_file
from lycoris_ext.os_errors import reason, remedy_for_writing
from lycoris_ext.printable import printable

BAR_SECONDS = 10.0
"""A progress bar, which is redrawn several times a second, becomes a line this often."""
MOST_WAITING = 1000
"""Lines that are kept for the file while it cannot be written."""

_BEGIN = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")
_MOVES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class LogFile(io.TextIOBase):
    """A text stream whose lines are appended to a file; writing to it never fails.

    The file is opened for each line and closed again. While that fails, because the disk is full or
    the folder is gone, the lines wait, and are written when it works again.

    Args:
        path: of the file; a log that is there already is continued.
        note: called with a sentence when the file cannot be written any more.

    Raises:
        EnvironmentFault: the file cannot be written now, or is there and is no such log.
    """

    encoding = "utf-8"

    def __init__(self, path: Path, note: Callable[[str], object]) -> None:
        self.path, self._note = path, note
        self._line, self._waiting, self._bar_at = "", [""] * 0, 0.0
        self._works = True
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            begin = _begin_of(path)
            path.open("a").close()
        except OSError as error:
            raise EnvironmentFault(
                f"the log cannot be written ({reason(error)})",
                where=f"--log-file {path}",
                fix=remedy_for_writing(error, "name another file"),
            ) from error
        if begin and not _BEGIN.match(begin):
            raise EnvironmentFault(
                "this file holds something else than a log, and nothing is appended to it",
                where=f"--log-file {path}",
                fix="name a new file",
            )

    def write(self, text: str) -> int:
        *whole, self._line = (self._line + text).split("\n")
        for line in whole:
            self._keep(line)
        # What a terminal overwrites at once, a bar's states, is not worth a line each.
        *before, self._line = self._line.rsplit("\r", 1)
        if before and time.monotonic() - self._bar_at >= BAR_SECONDS and self._keep(self._line):
            self._bar_at, self._line = time.monotonic(), ""
        return len(text)

    def _keep(self, line: str) -> bool:
        shown = printable(_MOVES.sub("", line.rsplit("\r", 1)[-1])).rstrip()
        if not shown:
            return False
        self._waiting.append(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {shown}\n")
        try:
            with self.path.open("a", encoding="utf-8", errors="replace", newline="\n") as file:
                file.write("".join(self._waiting))
            self._waiting.clear()
            self._works = True
        except OSError as error:
            del self._waiting[:-MOST_WAITING]
            if self._works:
                self._works = False
                self._note(
                    f"note: {self.path} cannot be written ({reason(error)}); it is tried again"
                )
        return True


class _Both(io.TextIOBase):
    """A stream of the command, whose text goes into the log, too."""

    encoding = "utf-8"

    def __init__(self, stream: TextIO, log: LogFile) -> None:
        self.stream, self.log = stream, log

    def write(self, text: str) -> int:
        self.log.write(text)
        return self.stream.write(text)

    def flush(self) -> None:
        self.stream.flush()

    def isatty(self) -> bool:
        return self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def logged(path: str, command: str) -> Iterator[LogFile]:
    """Append what is printed in a ``with`` block, and the error that ends it, to a log.

    Args:
        path: of the log.
        command: what the user has typed, the first line of this part of the log.

    Raises:
        EnvironmentFault: see ``LogFile``.
    """
    screen = sys.stdout, sys.stderr
    log = LogFile(expanded(path), lambda text: print(text, file=screen[1]))
    log.write(f"{command}\n")
    sys.stdout, sys.stderr = (_Both(stream, log) for stream in screen)
    try:
        yield log
    except LycorisExtError as error:
        log.write(f"error: {error}\n")
        raise
    except BaseException as error:
        log.write(f"ended by {type(error).__name__} {error}\n")
        raise
    finally:
        log.write("\n")  # the last state of a bar
        sys.stdout, sys.stderr = screen


def _begin_of(path: Path) -> bytes:
    with suppress(FileNotFoundError), open_file(path) as file:
        return file.read(20)
    return b""
