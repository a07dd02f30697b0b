"""Read off a training's log what it said last: its error, or how far it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lycoris_ext.words import one_line, short

#: Bytes at the end of a log that are read: a list of errors has a line or two for each.
_READ = 32_000
_MOST = 3000
#: The line with which `lycoris-ext train` begins to say why it ends (lycoris_ext/cli).
_ERROR = "error: "
_CRASH = "Traceback (most recent call last):"


@dataclass(frozen=True)
class Said:
    """The end of a training's log.

    Args:
        text: the error with all its lines, or the last line; "" if nothing was written.
        failed: whether it is an error.
    """

    text: str = ""
    failed: bool = False


def read_log(path: Path) -> Said:
    """Read the end of a training's log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _READ))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return Said()
    # A progress bar goes back to the begin of its line.
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    for index, line in reversed(list(enumerate(lines))):
        if line.startswith(_ERROR):
            return Said(_shown([line.removeprefix(_ERROR), *lines[index + 1 :]]), True)
        if line == _CRASH:
            exception = _exception(lines[index + 1 :])
            stopped = exception.startswith("KeyboardInterrupt")
            return Said("it was stopped" if stopped else short(exception, 300), not stopped)
    return Said(short(lines[-1], 300) if lines else "")


def _exception(lines: list[str]) -> str:
    """Return the exception's own line, which follows the indented lines of its traceback."""
    return next((line for line in lines if not line.startswith(" ")), _CRASH)


def _shown(lines: list[str]) -> str:
    text = "\n".join(map(one_line, lines))
    return text if len(text) <= _MOST else f"{text[:_MOST]}..."
