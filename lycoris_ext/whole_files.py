"""Read whole files up to a size: no file may take more memory and time than its purpose needs."""

from __future__ import annotations

from pathlib import Path

from lycoris_ext.files import open_file, state_of_file
from lycoris_ext.os_errors import Unreadable
from lycoris_ext.words import file_size

CONFIG_BYTES = 1_000_000
"""The largest config, preset file, file of prompts or other small text that is read. Configs have a
few kB, and the slowest reader (YAML) takes about 10 s for a file of this size."""


def size_within(path: Path, most: int) -> int:
    """Return the size of a file in bytes, before anything of it is read.

    Args:
        path: the file.
        most: the largest size that is read.

    Raises:
        Unreadable: the file is larger, or is a pipe or a device, whose end may never come.
        OSError: there is no such file.
    """
    found = state_of_file(path)
    if found.st_size > most:
        raise Unreadable(
            f"it has {file_size(found.st_size)}, and at most {file_size(most)} are read",
            "check that it is the right file, or make it smaller",
        )
    return found.st_size


def read_within(path: Path, most: int) -> bytes:
    """Read a file.

    Args:
        path: the file.
        most: the largest number of bytes that is read.

    Raises:
        Unreadable: the file is larger, or is a pipe or a device.
        OSError: it cannot be read.
    """
    size = size_within(path, most)
    with open_file(path) as file:
        # Python allocates all that is asked for, so never more than there is.
        content = file.read(size + 1)
    if len(content) > size:
        raise Unreadable("it grew while it was read", "see that no program writes to it")
    return content


def read_text_within(path: Path, most: int = CONFIG_BYTES) -> str:
    """Read a text file in UTF-8, with or without a byte order mark.

    Raises:
        Unreadable: the file is larger than ``most`` bytes, or is a pipe or a device.
        UnicodeDecodeError: it is not UTF-8.
        OSError: it cannot be read.
    """
    return read_within(path, most).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
