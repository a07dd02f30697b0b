"""One process at a time for each run's files.

The operating system holds the lock and lets go of it when the process ends, however it ends: what a
killed run leaves behind is an empty promise that the next one takes over.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path
from types import TracebackType

from lycoris_ext.errors import EnvironmentFault

# Behind the text in the file: Windows lets nobody read a locked range.
_LOCKED_BYTE = 1 << 20


class RunLock:
    """The right to write a run's files, held for the time of a `with` block.

    A folder that does not exist yet is not made for the lock's sake: then `acquire` is called again
    when it has been.

    Args:
        path: of the lock file; it is removed at the end.
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
        """Take the lock; does nothing where it is held already.

        Raises:
            EnvironmentFault: another process has it, or the folder cannot be written.
        """
        while self._handle is None:
            try:
                handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            except OSError as error:
                raise EnvironmentFault(
                    f"cannot be written ({error.strerror})",
                    where=str(self.path),
                    fix="choose another output_dir",
                ) from error
            if not _lock(handle):
                holder = _written_in(handle)
                os.close(handle)
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
            else:
                # Its owner removed it between our opening and locking it.
                os.close(handle)

    def release(self) -> None:
        """Let go; does nothing where nothing is held."""
        if self._handle is None:
            return
        if sys.platform != "win32":
            self.path.unlink(missing_ok=True)
        os.close(self._handle)
        self._handle = None
        if sys.platform == "win32":
            with contextlib.suppress(PermissionError):  # the next one has it open already
                self.path.unlink(missing_ok=True)

    def _is_current(self, handle: int) -> bool:
        try:
            return os.path.samestat(os.fstat(handle), os.stat(self.path))
        except FileNotFoundError:
            return False


def lock_holder(path: Path) -> int | None:
    """The number of the process that holds a lock file; None where none does.

    What a killed process left behind is held by nobody.
    """
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:  # it is not there, or not ours to open
        return None
    try:
        return None if _lock(handle) else _written_in(handle)
    finally:
        os.close(handle)  # which lets go of the lock


def _written_in(handle: int) -> int | None:
    """The number that a lock's holder has written into it; None until it has."""
    text = os.read(handle, 20).strip()
    return int(text) if text.isdigit() else None


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
