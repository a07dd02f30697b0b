"""A disk that fails after some bytes, as a full one does, or that may not be written any more."""

from __future__ import annotations

import builtins
import errno
import io
import os
import shutil
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

_WRITING = frozenset("wax+")
_CHANGING = ("mkdir", "unlink", "remove", "replace", "rename", "rmdir")


class BrokenDisk:
    """Files below a folder cannot be written any more once some bytes were written to them.

    The write that reaches the limit writes the bytes up to it, as a file system does.

    Args:
        folder: where the disk is mounted, so to speak.
        works: bytes that can be written in all.
        then: what a write does that needs more, such as raising ENOSPC.
        names: which files lie on this disk, as a pattern for their names.
        tells: ``shutil.disk_usage`` knows how much is left; without it another program fills the
            disk in the middle of the training.
    """

    def __init__(
        self,
        folder: Path,
        works: int,
        then: Callable[[], object],
        *,
        names: str = "*",
        tells: bool = False,
    ) -> None:
        self.folder, self.left, self.then = folder, works, then
        self.names, self.tells = names, tells

    def __call__(self) -> None:
        """Break the disk of this process."""
        real = builtins.open

        def opening(file: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
            if not _WRITING & set(mode) or not self.holds(file):
                return real(file, mode, *more, **named)
            if self.left <= 0:
                self.then()
            return _File(real(file, mode, *more, **named), self)

        builtins.open = io.open = opening  # type: ignore[assignment]
        if self.tells:
            usage = shutil.disk_usage

            def told(path: Any) -> Any:
                found = usage(path)
                return found._replace(free=max(self.left, 0)) if self.holds(path) else found

            shutil.disk_usage = told

    def holds(self, file: object) -> bool:
        """Return True if a file, given as ``open`` takes it, lies on this disk."""
        if not isinstance(file, (str, os.PathLike)):
            return False
        path = Path(file).absolute()
        return path.is_relative_to(self.folder) and fnmatch(path.name, self.names)

    def allowed(self, size: int) -> int:
        """Return how many bytes of a write are written, and count them."""
        written = min(size, max(self.left, 0))
        self.left -= size
        return written


class _File:
    """A file on a broken disk."""

    def __init__(self, file: Any, disk: BrokenDisk) -> None:
        self._file, self._disk = file, disk

    def write(self, content: Any) -> int:
        is_text = isinstance(content, str)
        raw = content.encode("utf-8") if is_text else memoryview(content).cast("B")
        allowed = self._disk.allowed(len(raw))
        if allowed < len(raw):
            part = bytes(raw[:allowed])
            self._file.write(part.decode("utf-8", "ignore") if is_text else part)
            self._file.flush()
            self._disk.then()
        written: int = self._file.write(content)
        return written

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def forbid(folder: Path, number: int = errno.EACCES) -> None:
    """Let every change below a folder fail in this process, as to who may not write there."""

    def inside(path: object) -> bool:
        return isinstance(path, (str, os.PathLike)) and Path(path).absolute().is_relative_to(folder)

    def refuse(path: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    def refusing(real: Callable[..., Any]) -> Callable[..., Any]:
        def change(path: Any, *more: Any, **named: Any) -> Any:
            if inside(path):
                refuse(path)
            return real(path, *more, **named)

        return change

    for name in _CHANGING:
        setattr(os, name, refusing(getattr(os, name)))
    real_open, real_os_open = builtins.open, os.open

    def opening(file: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
        # Those that exist may be written: it is the folder whose permissions are gone.
        if inside(file) and set("wx") & set(mode) and not os.path.exists(file):
            refuse(file)
        return real_open(file, mode, *more, **named)

    def os_opening(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if inside(path) and flags & os.O_CREAT and not os.path.exists(path):
            refuse(path)
        return real_os_open(path, flags, *more, **named)

    builtins.open = io.open = opening  # type: ignore[assignment]
    os.open = os_opening
