"""A lock that lets only one process write the files of a run.

The operating system releases the lock when the process ends, even if it is killed. A lock file that
is left behind is therefore no obstacle: the next process locks it again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import time
from pathlib import Path
from types import TracebackType

from lycoris_ext.errors import EnvironmentFault
from lycoris_ext.os_errors import Unreadable, reason, remedy_for_writing

# The lock is on this byte, far behind the text: Windows lets nobody read a locked range.
_LOCKED_BYTE = 1 << 20
_NO_LINK_NO_WAIT = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class RunLock:
    """The lock of a run, held during a `with` block.

    If the run's folder does not exist yet, entering the block takes no lock and makes no folder;
    call `acquire` after making it.

    Args:
        path: the lock file; it is removed at the end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    def __enter__(self) -> RunLock:
        if self.path.parent.is_dir():
            self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock, unless this object holds it already.

        Raises:
            EnvironmentFault: another process holds it, or the folder cannot be written.
        """
        try:
            while self._handle is None:
                handle = _open(self.path, os.O_CREAT)
                try:
                    self._lock_and_sign(handle)
                finally:
                    if self._handle is None:
                        os.close(handle)
        except OSError as error:
            raise EnvironmentFault(
                f"cannot be written ({reason(error)})",
                where=str(self.path),
                fix=remedy_for_writing(error, "choose another output_dir"),
            ) from error

    def _lock_and_sign(self, handle: int) -> None:
        """Lock the open file and write our process id into it; it becomes ``_handle`` then.

        It does not if the last holder removed the file after we had opened it: a new one is needed.
        """
        if not _lock_soon(handle):
            holder = _written_in(handle)
            raise EnvironmentFault(
                "another process is training under this name"
                + (f" (process {holder})" if holder else ""),
                where=str(self.path),
                fix="wait until it is done or stop it, or choose another output_name",
            )
        if self._is_current(handle):
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode("ascii"))
            self._handle = handle

    def release(self) -> None:
        """Release the lock, if it is held, and remove its file.

        A file that cannot be removed, because its folder has become unwritable or another process
        has opened it already, is no obstacle to anybody.
        """
        if self._handle is None:
            return
        if sys.platform != "win32":
            self._remove()
        os.close(self._handle)
        self._handle = None
        if sys.platform == "win32":
            self._remove()

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _is_current(self, handle: int) -> bool:
        """Return True if the open file is still the one at ``path``."""
        try:
            return os.path.samestat(os.fstat(handle), os.stat(self.path, follow_symlinks=False))
        except FileNotFoundError:
            return False


def lock_holder(path: Path) -> int | None:
    """Return the id of the process that holds a lock file, or None if no process does.

    Nobody holds a file that a killed process has left behind.
    """
    try:
        handle = _open(path)
    except OSError:  # the file does not exist, is a link, or we may not open it
        return None
    try:
        return None if _lock(handle) else _written_in(handle)
    finally:
        os.close(handle)  # which also releases the lock


def _open(path: Path, more: int = 0) -> int:
    """Open a lock file; in a folder of several users, a link could lead to anybody's file.

    Raises:
        OSError: it cannot be opened, or is a link, a pipe or a device.
    """
    if path.is_symlink():
        raise Unreadable("it is a link, and locks follow none", "delete it")
    handle = os.open(path, os.O_RDWR | _NO_LINK_NO_WAIT | more, 0o666)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Unreadable("it is a pipe or a device", "delete it")
    return handle


def _written_in(handle: int) -> int | None:
    """Return the process id in a lock file, or None if its holder has not written it yet."""
    text = os.read(handle, 20).strip()
    return int(text) if text.isdigit() else None


def _lock_soon(handle: int) -> bool:
    """Lock a file; wait a moment for who only looks whether it is locked (`lock_holder`)."""
    for _ in range(10):
        if _lock(handle):
            return True
        time.sleep(0.02)
    return False


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> bool:
        os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(handle, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            # Some network folders know no locks; training there is still better than none.
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
        return True
