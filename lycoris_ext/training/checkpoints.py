"""The copies of the adapter that a run saves on its way: recording them, and deleting old ones.

Deleted is only what this run itself wrote: a file that its event log names, and that still has the
content that the run gave it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from lycoris_ext.formats.hashes import sha256_of_files
from lycoris_ext.runs.events import EventLog, read_events

_EVENT = "checkpoint"


def record_checkpoint(events: EventLog, step: int, files: Iterable[Path]) -> None:
    """Write into the event log which files were saved after a step, with their hashes."""
    hashes = {path.name: sha256_of_files(path) for path in files}
    events.write(_EVENT, step, files=hashes)


def delete_checkpoints(events: EventLog, unless: Callable[[int], bool]) -> None:
    """Delete the files of recorded checkpoints.

    A file that cannot be deleted, because another program reads it, is tried again the next time.

    Args:
        events: the event log of the run; its folder holds the files.
        unless: returns True for the step of a checkpoint that is kept.
    """
    for event in list(read_events(events.path)):
        files = event.get("files")
        if event.get("event") != _EVENT or unless(event.get("step", 0)):
            continue
        for name, digest in files.items() if isinstance(files, dict) else ():
            path = events.path.parent / Path(name).name
            with suppress(OSError, ValueError):  # a line that was damaged may name anything
                if path.is_file() and sha256_of_files(path) == digest:
                    path.unlink()
