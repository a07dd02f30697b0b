"""Hashes of all that lies in a folder, to tell that nothing of it was written to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path


def digests(
    folder: Path, is_original: Callable[[Path], bool] = Path.is_file, *, times: bool = True
) -> dict[str, str]:
    """Return path below a folder -> SHA-256 of the bytes and the time of the last change.

    Args:
        folder: of the originals.
        is_original: which files count; others may come and go.
        times: whether the time of the last change counts.
    """
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(
            path.read_bytes() + (str(path.stat().st_mtime_ns).encode() if times else b"")
        ).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and is_original(path)
    }
