"""What happened in a run, one JSON object a line: the loss curve and everything else.

A line is {"event": "step", "step": 12, "loss": 0.1, ...}; "step" counts finished optimizer steps
from 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lycoris_ext.errors import EnvironmentFault
from lycoris_ext.formats import atomic_write

Event = dict[str, Any]


class EventLog:
    """Appends to a run's event file.

    Args:
        path: the file, in a folder that exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def continue_after(self, step: int) -> None:
        """Drop what a killed run wrote after the step that it is continued from.

        The steps are done again, and each must stand in the file once; a last line that the kill
        cut short goes, too.
        """
        kept = [event for event in read_events(self.path) if event.get("step", 0) <= step]
        atomic_write(self.path, "".join(map(_line, kept)).encode("utf-8"))

    def write(self, event: str, step: int, **values: Any) -> None:
        """Append one event; the file is closed again, so that no kill can lose it.

        Raises:
            EnvironmentFault: the disk is full or the folder is gone.
        """
        try:
            with self.path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(_line({"event": event, "step": step, **values}))
        except OSError as error:
            raise EnvironmentFault(
                f"cannot be written ({error.strerror})",
                where=str(self.path),
                fix="free some disk space, then run the same command again to continue",
            ) from error


def read_events(path: Path) -> Iterator[Event]:
    """Read events in order; a line cut short by a kill is left out, a missing file has none."""
    if not path.is_file():
        return
    for line in path.read_bytes().split(b"\n"):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


def _line(event: Event) -> str:
    return json.dumps(event, ensure_ascii=False) + "\n"
