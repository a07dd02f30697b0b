"""Writing files in one step, so that a reader finds the old content or the new, never a half."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from lycoris_ext.errors import EnvironmentFault
from lycoris_ext.os_errors import reason, remedy_for_writing

_IN_USE = (5, 32)
"""Windows' errors for a file that another program has open: access denied, sharing violation."""
_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.6)
"""Seconds before each further try."""


def atomic_write(
    path: Path | str, content: bytes | Callable[[BinaryIO], None], keep: Path | None = None
) -> None:
    """Write a file in one step: a crash or a full disk leaves the old file, never half of the new.

    The bytes go into a temporary file in the same folder, are flushed to the disk, and then the
    temporary file is renamed. Windows renames onto no file that another program reads, such as a
    browser or a virus scanner: then it is tried again for two seconds.

    Args:
        path: the file; its folder is made if it does not exist.
        content: the bytes, or a function that writes them to an open binary file.
        keep: what was there before becomes this file; None: it is replaced.

    Raises:
        EnvironmentFault: the file cannot be written; the remedy follows from the cause.
    """
    path = Path(path)
    make_folder(path.parent)
    writer = f"{os.getpid()}-{threading.get_ident()}"  # two threads may write one file
    temporary = path.with_name(f".{path.name}.{writer}.tmp")
    try:
        with open(temporary, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            _replace(path, keep)
        _replace(temporary, path)
    except OSError as error:
        raise EnvironmentFault(
            f"cannot be written ({reason(error)})",
            where=str(path),
            fix=remedy_for_writing(error, "choose another folder")
            + ("; what was there before is unharmed" if path.exists() else ""),
        ) from error
    finally:
        with suppress(OSError):  # a folder that cannot be written fails here, too
            temporary.unlink(missing_ok=True)


def _replace(source: Path, target: Path) -> None:
    for pause in _PAUSES:
        try:
            os.replace(source, target)
        except PermissionError as error:
            if getattr(error, "winerror", None) not in _IN_USE:
                raise
            time.sleep(pause)
        else:
            return
    os.replace(source, target)


def make_folder(folder: Path, option: str = "folder") -> None:
    """Make a folder and those above it, unless it exists.

    Args:
        folder: the folder.
        option: the name of the option that names it, for messages.

    Raises:
        EnvironmentFault: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(
            f"the folder cannot be made ({reason(error)})",
            where=str(folder),
            fix=remedy_for_writing(error, f"choose another {option}"),
        ) from error


def check_folder(folder: Path, option: str) -> None:
    """Check that files can be written into a folder, or that it can be made, without making it.

    Args:
        folder: the folder.
        option: the name of the option that names it, for messages.

    Raises:
        EnvironmentFault: it cannot.
    """
    place = nearest_folder(folder)
    probe = place / f".{uuid4().hex}.tmp"
    try:
        # Permissions say little on Windows, and nothing to root: try it.
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        there = place == folder.absolute()
        what = "the folder cannot be " + ("written" if there else f"made in {place}")
        raise EnvironmentFault(
            f"{what} ({reason(error)})",
            where=f"{option} {folder}",
            fix=remedy_for_writing(error, f"choose another {option}"),
        ) from error


def nearest_folder(path: Path) -> Path:
    """Return the path itself, or the nearest folder above it that exists."""
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return place


def remove_leftovers(folder: Path, pattern: str) -> None:
    """Delete the temporary files of killed writers of the files that a pattern of glob matches."""
    for leftover in folder.glob(f".{pattern}.*.tmp"):
        remove(leftover)


def remove(path: Path) -> None:
    """Delete a file, if it exists.

    Raises:
        EnvironmentFault: it cannot be deleted.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        if not path.exists():  # a read-only disk refuses this, too
            return
        raise EnvironmentFault(
            f"cannot be deleted ({reason(error)})",
            where=str(path),
            fix=remedy_for_writing(error),
        ) from error
