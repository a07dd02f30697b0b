"""Adapters under names that no other file ever had.

The host knows a network by its name: a file that is replaced under the same name goes on being
drawn as it was, and of two files of one name the last one wins. So what is tested is a copy whose
name carries the hash of its content. A copy and no link: a link would change with the original.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from lycoris_ext.errors import DataError
from lycoris_ext.formats import atomic_write

FOLDER = "lycoris_ext_staged"
_DIGITS = 12
_STEM = 48
#: Seconds for which a copy stays: a plot of the host's own may be using it.
_IN_USE = 3600


class Staging:
    """A folder inside the host's folder of networks.

    Args:
        networks: the host's folder.
    """

    def __init__(self, networks: Path) -> None:
        self.folder = networks / FOLDER

    def name(self, stem: str, digest: str) -> str:
        """The staged file's stem, in which no character means anything in a prompt."""
        plain = re.sub(r"[^0-9A-Za-z_-]+", "_", stem)[:_STEM].strip("_") or "adapter"
        return f"{plain}__{digest[:_DIGITS]}"

    def stage(self, path: Path, digest: str) -> Path:
        """Copy an adapter, unless it lies there already.

        Args:
            path: the original.
            digest: SHA-256 of the file as it was listed.

        Raises:
            DataError: the original is gone, or is another file by now.
            EnvironmentFault: the copy cannot be written.
        """
        staged = self.folder / f"{self.name(path.stem, digest)}.safetensors"
        if staged.is_file():
            with suppress(OSError):  # a file that the host maps: it cannot be deleted, either
                os.utime(staged)
            return staged
        atomic_write(staged, read_listed(path, digest))
        return staged

    def keep_only(self, staged: Iterable[Path]) -> None:
        """Delete the copies of earlier grids that nobody used within the hour.

        One that the host still holds open (on Windows it cannot be deleted) goes the next time.
        """
        kept = set(staged)
        if not self.folder.is_dir():
            return
        for path in self.folder.iterdir():
            if path in kept:
                continue
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _IN_USE:
                    path.unlink()


def read_listed(path: Path, digest: str) -> bytes:
    """The bytes of an adapter, and of no other file that has taken its place.

    Args:
        path: where it was listed.
        digest: its SHA-256 then.

    Raises:
        DataError: it is gone, or is another file by now.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot be read any more ({error.strerror})",
            where=str(path),
            fix="list the run again",
        ) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise DataError(
            "this file was overwritten after it was listed",
            where=str(path),
            fix="list the run again: the new file is another column",
        )
    return content
