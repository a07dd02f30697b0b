"""Copy adapters to names that no other file ever had, so that the host's cache cannot be wrong.

The host knows an adapter by its name alone: after a file is overwritten it may go on drawing the
old content, and of two files with one name it uses the last. So grids are drawn with copies whose
names carry the hash of their content. They are copies, since links would follow the original.
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
#: Seconds for which a copy is kept after its last use: the host's X/Y/Z plot may be using it.
_IN_USE = 3600


class Staging:
    """A folder of copied adapters inside the host's LoRA folder.

    Args:
        networks: the host's LoRA folder.
    """

    def __init__(self, networks: Path) -> None:
        self.folder = networks / FOLDER

    def name(self, stem: str, digest: str) -> str:
        """Return the copy's name without extension, safe to use in a prompt's <lora:...> tag.

        Args:
            stem: the original file's name without extension.
            digest: SHA-256 of its content, in hex.
        """
        plain = re.sub(r"[^0-9A-Za-z_-]+", "_", stem)[:_STEM].strip("_") or "adapter"
        return f"{plain}__{digest[:_DIGITS]}"

    def stage(self, path: Path, digest: str) -> Path:
        """Copy an adapter into this folder, unless a copy exists, and return the copy's path.

        Args:
            path: the original file.
            digest: SHA-256 of the file when it was listed, in hex.

        Raises:
            DataError: the original is gone or its content has changed.
            EnvironmentFault: the copy cannot be written.
        """
        staged = self.folder / f"{self.name(path.stem, digest)}.safetensors"
        if staged.is_file():
            with suppress(OSError):  # fails if the host maps the file, which then stays anyway
                os.utime(staged)
            return staged
        atomic_write(staged, read_listed(path, digest))
        return staged

    def keep_only(self, staged: Iterable[Path]) -> None:
        """Delete all copies but the given ones, unless they were used within the last hour.

        On Windows a copy that the host holds open cannot be deleted; a later call deletes it.
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
    """Read an adapter file and make sure that its content is the one that was listed.

    Args:
        path: the file.
        digest: SHA-256 of the file when it was listed, in hex.

    Raises:
        DataError: the file is gone or its content has changed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"this file cannot be read any more ({error.strerror})",
            where=str(path),
            fix="list the run again",
        ) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise DataError(
            "this file was overwritten after it was listed",
            where=str(path),
            fix="list the run again to use the new file",
        )
    return content
