"""A cache of many small records, in a few files that are written once and never changed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from struct import Struct
from uuid import uuid4

from lycoris_ext.data.store import ENDING, remove_old_leftovers, touch
from lycoris_ext.files import read_within
from lycoris_ext.formats.atomic import atomic_write, make_folder
from lycoris_ext.formats.sealed import sealed, unsealed

KEY_BYTES = 16
LARGEST = 2 * 10**8
"""Bytes of the largest pack that is read or written."""
_MERGED = 8
"""So many packs that a run used become one."""
_HEAD = Struct(f"<{KEY_BYTES}sI")


class Packs:
    """Records, bytes under a key of 16 bytes, in the packs of a folder that processes may share.

    A pack holds its own hash and is written in one step under a name of its own, so that writers
    never meet, a killed one leaves nothing half, and a damaged pack counts as missing. Whoever
    finds a pack gone, because another process merged or pruned it, computes its records again.

    Args:
        folder: is made if it does not exist.

    Attributes:
        used: the packs of which records were used, or that were written, through this object.

    Raises:
        EnvironmentFault: the folder cannot be made or listed; from `save`: it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.used: set[Path] = set()
        self._new: dict[bytes, bytes] = {}
        make_folder(folder, "cache_dir")
        remove_old_leftovers(folder)
        self._packs = {path: _read(path) for path in sorted(folder.glob(f"*{ENDING}"))}

    def get(self, key: bytes) -> bytes | None:
        """Return the record of a key, the newest if there are several; None if there is none."""
        if key in self._new:
            return self._new[key]
        for path in reversed(self._packs):  # by their names, the newest last
            record = self._packs[path].get(key)
            if record is not None:
                self.used.add(path)
                return record
        return None

    def put(self, key: bytes, record: bytes) -> None:
        """Keep a record in memory until `save`."""
        self._new[key] = record

    def save(self) -> None:
        """Write the new records as one pack."""
        if self._new:
            self._write(self._new)
            self._new = {}

    def close(self) -> None:
        """Write the new records, note what was used, and make one pack of many."""
        self.save()
        for path in self.used:
            touch(path)
        used = sorted(self.used)
        records = {key: value for path in used for key, value in self._packs[path].items()}
        if len(used) > _MERGED and _size(records) <= LARGEST:
            self._write(records)
            for path in used:
                self.used.discard(path)
                del self._packs[path]
                with suppress(OSError):  # in use on Windows, or another process merged it, too
                    path.unlink()

    def _write(self, records: Mapping[bytes, bytes]) -> None:
        # The time comes first, so that the newest pack is the last one of a sorted list.
        name = f"{time.time_ns():016x}{uuid4().hex[:24]}"
        content = b"".join(
            part for key, value in records.items() for part in (_HEAD.pack(key, len(value)), value)
        )
        path = self.folder / (name + ENDING)
        atomic_write(path, sealed(content, name))
        self._packs[path] = dict(records)
        self.used.add(path)


def _read(path: Path) -> dict[bytes, bytes]:
    """Return the records of a pack; none if it is damaged, or gone."""
    try:
        content = unsealed(read_within(path, LARGEST), path.name.removesuffix(ENDING))
    except OSError:  # it is only a cache: what cannot be read is computed again
        content = None
    return dict(_records(content or b""))


def _records(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(content):
        key, size = _HEAD.unpack_from(content, at)
        at += _HEAD.size + size
        yield key, content[at - size : at]


def _size(records: Mapping[bytes, bytes]) -> int:
    return sum(_HEAD.size + len(value) for value in records.values())
