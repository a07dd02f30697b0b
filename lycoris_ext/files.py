"""Opening the files that users name, and telling in words what the operating system refuses.

Only regular files are opened. A pipe is waited for without end, a device such as /dev/zero is read
without end, and what a socket or a folder says is of no use here. Files of strangers are read up to
a size (``read_within``): none may take more memory and time than its purpose needs.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from lycoris_ext.errors import DataError, EnvironmentFault
from lycoris_ext.os_errors import Unreadable, reason, remedy, remedy_for_reading
from lycoris_ext.words import file_size

CONFIG_BYTES = 1_000_000
"""The largest config, preset file, file of prompts or other small text that is read. Configs have a
few kB, and the slowest reader (YAML) takes about 10 s for a file of this size."""
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
# A pipe that nobody writes to is opened at once, and refused afterwards.
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)


def open_file(path: Path | str) -> BufferedReader:
    """Open a regular file to read bytes.

    Raises:
        OSError: it cannot be opened, or is no regular file; ``os_errors`` has words for it.
    """
    state_of_file(path)
    return open(path, "rb", opener=_open_regular)


def read_bytes(path: Path | str) -> bytes:
    """Read a regular file.

    Raises:
        OSError: as ``open_file``.
    """
    with open_file(path) as file:
        return file.read()


def read_text(path: Path | str, encoding: str = "utf-8") -> str:
    """Read a regular file as text, with line breaks as Python has them.

    Raises:
        OSError: as ``open_file``.
        UnicodeDecodeError: it has another encoding.
    """
    text = read_bytes(path).decode(encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n")


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


def state_of_file(path: Path | str) -> os.stat_result:
    """Return what the system knows of a file, before it or anything of it is read.

    Raises:
        OSError: it is a folder, a pipe, a device or a socket, or cannot be found.
    """
    try:
        state = os.stat(path)
    except ValueError as error:  # a zero byte, or half of a character
        raise OSError(errno.EINVAL, "no file can have this name", str(path)) from error
    _refuse(state, path)
    return state


def cannot_read(path: Path | str, error: OSError, what: str = "") -> DataError:
    """Return the error for a file or folder that cannot be read.

    Args:
        path: of it.
        error: of the operating system.
        what: stands before "cannot be read", such as "the folder ".
    """
    return DataError(
        f"{what}cannot be read ({reason(error)})", where=str(path), fix=remedy_for_reading(error)
    )


def expanded(path: Path | str) -> Path:
    """Return a path with the user's own folder in place of ``~``.

    Raises:
        OSError: the system knows no such folder, as for ``~name`` of nobody.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise FileNotFoundError(errno.ENOENT, "there is no home folder", str(path)) from error


@contextmanager
def told_in_words() -> Iterator[None]:
    """Turn what the operating system refuses in a ``with`` block into an error of this package.

    For what no other place has better words.

    Raises:
        EnvironmentFault: the block raised an OSError of the operating system.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None and not isinstance(error, Unreadable):  # a library's own
            raise
        raise EnvironmentFault(
            f"the operating system refuses: {reason(error)}",
            where=None if error.filename is None else os.fsdecode(error.filename),
            fix=remedy(error),
        ) from error


def _open_regular(path: str, flags: int) -> int:
    handle = os.open(path, flags | _AT_ONCE)
    try:
        _refuse(os.fstat(handle), path)
    except OSError:
        os.close(handle)
        raise
    return handle


def _refuse(state: os.stat_result, path: Path | str) -> None:
    kind = stat.S_IFMT(state.st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, "this is a folder", str(path))
    if kind in _KINDS:
        raise Unreadable(
            f"it is {_KINDS[kind]}, not a file", "save its content in a file, and name that"
        )
