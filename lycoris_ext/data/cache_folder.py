"""Look after the folder of disk caches: list it, check it, and keep it within a size."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lycoris_ext.data.store import ENDING
from lycoris_ext.files import cannot_read, read_bytes
from lycoris_ext.formats.sealed import unsealed


@dataclass(frozen=True)
class Entry:
    """A file of a cache.

    Args:
        path: the file; its name is the key, its folder the kind, such as "latents".
        size: in bytes.
        used: when a run wrote or read it last, in seconds since 1970.
    """

    path: Path
    size: int
    used: float

    @property
    def kind(self) -> str:
        """What it holds: "latents", "captions" or "measures"."""
        return self.path.parent.name

    def is_whole(self) -> bool:
        """Return False if the file is damaged, or was renamed.

        Raises:
            OSError: it cannot be read.
        """
        return unsealed(read_bytes(self.path), self.path.name.removesuffix(ENDING)) is not None


def entries(folder: Path) -> list[Entry]:
    """Return the files of the caches in a folder or in the folders in it, the longest unused first.

    Args:
        folder: a cache_dir, or one of the folders in it.

    Raises:
        DataError: the folder cannot be read.
    """
    try:
        folders = [folder, *(Path(one.path) for one in os.scandir(folder) if one.is_dir())]
        found = [entry for place in folders for entry in _in_folder(place)]
    except OSError as error:
        raise cannot_read(error.filename or folder, error, what="the folder ") from error
    return sorted(found, key=lambda entry: (entry.used, entry.path))


def _in_folder(folder: Path) -> Iterator[Entry]:
    with os.scandir(folder) as files:
        for file in files:
            if file.name.endswith(ENDING) and file.is_file():
                with suppress(FileNotFoundError):  # another process deleted it just now
                    state = file.stat()
                    yield Entry(Path(file.path), state.st_size, state.st_mtime)


def beyond(found: Iterable[Entry], most_bytes: float, spared: Collection[Path] = ()) -> list[Entry]:
    """Return the entries to delete so that the others fit into a size.

    Args:
        found: all entries, the longest unused first.
        most_bytes: of those that stay.
        spared: files that stay in any case, because a run uses them.
    """
    all_of_them = list(found)
    excess = sum(entry.size for entry in all_of_them) - most_bytes
    doomed = []
    for entry in all_of_them:
        if excess <= 0:
            break
        if entry.path not in spared:
            doomed.append(entry)
            excess -= entry.size
    return doomed


def delete(doomed: Iterable[Entry]) -> list[Entry]:
    """Delete entries, and return those that could be deleted.

    One that another program has open stays on Windows; whoever needs one that is gone computes it.
    """
    deleted = []
    for entry in doomed:
        with suppress(OSError):
            entry.path.unlink(missing_ok=True)
            deleted.append(entry)
    return deleted
