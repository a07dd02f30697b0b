"""The event log of a run, NAME.events.jsonl: losses, saved files and more, a JSON object a line.

A line is {"event": "step", "step": 12, "loss": 0.1, ..., "time": 1790000000.123}; "step" counts
finished optimizer steps from 1, and "time" is in seconds since 1970. Nothing of a run depends on
times: a run that went on after a stop has the same other numbers as one without.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lycoris_ext.errors import EnvironmentFault
from lycoris_ext.files import cannot_read, read_bytes
from lycoris_ext.formats import atomic_write
from lycoris_ext.formats.json_text import parse_json
from lycoris_ext.os_errors import reason, remedy_for_writing

Event = dict[str, Any]

_MOST_STEPS = 2**53


class EventLog:
    """Writes a run's event log.

    Args:
        path: the file, in a folder that exists.

    Attributes:
        unwritten: lines that could not be written. The next attempt writes them, too; a saved state
            keeps them, so that it is never ahead of its log.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unwritten = ""

    def continue_after(self, step: int, unwritten: str = "") -> None:
        """Delete the events after the step from which a killed run continues.

        The later steps will be trained again, and each must be in the file once. A last line that
        was cut short is deleted, too.

        Args:
            step: finished optimizer steps of the saved state.
            unwritten: lines that the state keeps for the log.
        """
        kept = [event for event in read_events(self.path) if event.get("step", 0) <= step]
        # Of a line that failed, all but the line break may have been written.
        kept += [event for event in events_in(unwritten.encode("utf-8")) if event not in kept]
        atomic_write(self.path, "".join(map(_line, kept)).encode("utf-8", "replace"))

    def write(self, event: str, step: int, **values: Any) -> None:
        """Append one event and close the file, so that the event survives if the process is killed.

        Args:
            event: what happened, such as "step".
            step: finished optimizer steps.
            values: further entries of the JSON object.

        Raises:
            EnvironmentFault: the line cannot be written; it is tried again with the next one.
        """
        self.unwritten += _line(
            {"event": event, "step": step, **values, "time": round(time.time(), 3)}
        )
        try:
            with self.path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(self.unwritten)
            self.unwritten = ""
        except OSError as error:
            # Half of it may be there: the next attempt begins a line of its own.
            self.unwritten = "\n" + self.unwritten.lstrip("\n")
            raise EnvironmentFault(
                f"cannot be written ({reason(error)})",
                where=str(self.path),
                fix=f"{remedy_for_writing(error)}; then run the same command again to continue",
            ) from error


def read_events(path: Path) -> Iterator[Event]:
    """Read the events of a log in order.

    A line that was cut short, or whose step is no number, is left out. If the file does not exist
    there are no events.

    Raises:
        DataError: the file cannot be opened.
    """
    if not path.is_file():
        return
    try:
        content = read_bytes(path)
    except OSError as error:
        raise cannot_read(path, error) from error
    yield from events_in(content)


def events_in(content: bytes) -> Iterator[Event]:
    """Yield the events in lines of a log; a line that holds none is left out."""
    for line in content.split(b"\n"):
        try:
            event = parse_json(line)
        except ValueError:
            continue
        if isinstance(event, dict) and _is_step(event.get("step", 0)):
            yield event


def _is_step(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_STEPS


def _line(event: Event) -> str:
    return json.dumps(event, ensure_ascii=False) + "\n"
