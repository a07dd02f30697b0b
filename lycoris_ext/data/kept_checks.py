"""What checks found out about pictures, kept from one to the next.

What was found is kept under a hash of the picture's bytes, so that it follows a picture that is
moved, renamed or copied, and is never out of date. A file is not even read again if it is in the
very state in which it was read before: on one device, with one number (inode), size, time of its
content and time of its last change of any kind. The last of these, ctime, is what makes that safe:
no program can set it, so that editors and copying programs that keep a file's time, or its size,
change it all the same. Three kinds of files are read every time, because it says less there:

- Windows has no ctime: what Python calls so there is the time when the file was made.
- A file system that counts in steps of 10 ms or more, such as FAT on a memory stick or an archive
  that is mounted: two changes in one step look alike, and numbers of files may be invented.
- A file that changed within the last two seconds: its next change may carry the same time.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path

from PIL import __version__ as pillow_version

from lycoris_ext.data.cache_folder import beyond, delete, entries
from lycoris_ext.data.config import DataConfig
from lycoris_ext.data.measures import MEASURES_VERSION, Measures
from lycoris_ext.data.packs import KEY_BYTES, Packs
from lycoris_ext.data.pictures import NOTES_VERSION, Checked
from lycoris_ext.errors import DataError, EnvironmentFault
from lycoris_ext.files import expanded

PLACE = "LYCORIS_EXT_CACHE"
"""The environment variable that names the user's folder of caches."""
MOST_BYTES = 2 * 10**8
"""What is longest unused beyond this size is deleted: some 300,000 pictures stay."""
_SETTLED_NS = 2 * 10**9
_COARSE_NS = 10**7
_SAVED_EVERY = 15.0
"""Seconds of work that a killed check loses at most."""


class KeptChecks:
    """The checks of pictures in a folder; the main thread changes it, any thread may ask it.

    Args:
        folder: of the packs; None keeps nothing. If it cannot be used, `fault` says why, and
            nothing is kept: a check needs no cache.
        again: use nothing that is kept, but keep what is found.

    Attributes:
        fault: why nothing is kept, or not all; None if nothing failed.
    """

    def __init__(self, folder: Path | None = None, *, again: bool = False) -> None:
        self.fault: EnvironmentFault | None = None
        self._packs: Packs | None = None
        self._again = again
        self._saved = time.monotonic()
        if folder is not None:
            try:
                self._packs = Packs(folder)
            except EnvironmentFault as fault:
                self.fault = fault

    @property
    def used(self) -> set[Path]:
        """The files of the cache that were used."""
        return self._packs.used if self._packs else set()

    def unchanged(self, path: Path, *, alpha_mask: bool) -> Checked | None:
        """Return what was found in a file, without reading it; None if that is not known."""
        if self._packs is None or self._again:
            return None
        state = stamp(path)
        digest = self._packs.get(state) if state else None
        return self.known(digest.hex(), alpha_mask) if digest else None

    def known(self, digest: str, alpha_mask: bool) -> Checked | None:
        """Return what was found in a picture, by the hash of its bytes; None if it is not known."""
        if self._packs is None or self._again:
            return None
        record = self._packs.get(_key(digest, alpha_mask))
        return _read(digest, record) if record else None

    def keep(self, state: bytes | None, checked: Checked, *, alpha_mask: bool) -> None:
        """Keep what was found in a picture.

        Args:
            state: the stamp of the file before it was read.
            checked: what was found.
            alpha_mask: whether its transparency was kept.
        """
        if self._packs is None:
            return
        records = {_key(checked.digest, alpha_mask): _written(checked)}
        if state:
            records[state] = bytes.fromhex(checked.digest)
        for key, record in records.items():
            if self._packs.get(key) != record:
                self._packs.put(key, record)
        if time.monotonic() - self._saved > _SAVED_EVERY:
            self._try(self._packs.save)

    def close(self) -> None:
        """Write what is new, and delete what nobody used for the longest time."""
        if self._packs is not None:
            self._try(self._packs.close)
        if self._packs is not None:
            with suppress(DataError):  # the folder is gone
                delete(beyond(entries(self._packs.folder), MOST_BYTES, self.used))

    def told(self) -> list[str]:
        """Return a line for the user if something could not be kept."""
        return [
            f"what was found in pictures is not kept for later: {f}" for f in (self.fault,) if f
        ]

    def _try(self, write: Callable[[], None]) -> None:
        """Write; what cannot be written, as on a full disk, is not kept."""
        try:
            write()
        except EnvironmentFault as fault:
            self.fault, self._packs = fault, None
        self._saved = time.monotonic()


def measures_folder(config: DataConfig) -> Path | None:
    """Return the folder of kept checks: in cache_dir, or in the user's folder of caches.

    It is never beside pictures or below the folder where a command was called. None if the user has
    no folder of their own.
    """
    try:
        return (expanded(config.cache_dir) if config.cache_dir else user_caches()) / "measures"
    except OSError:
        return None


def user_caches() -> Path:
    """Return the user's folder of this package's caches.

    Raises:
        OSError: the user has no folder.
    """
    if os.environ.get(PLACE):
        return expanded(os.environ[PLACE])
    if sys.platform == "win32":
        above = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        above = "~/Library/Caches"
    else:
        above = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expanded(above) / "lycoris_ext"


def stamp(path: Path) -> bytes | None:
    """Return a hash of the state of a file that changes with its content; None: read it."""
    if os.name == "nt":
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    changed = found.st_ctime_ns
    if not found.st_ino or changed % _COARSE_NS == 0:
        return None
    if time.time_ns() - max(changed, found.st_mtime_ns) < _SETTLED_NS:
        return None
    state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, changed)
    return _hash("stamp", *state)


def _key(digest: str, alpha_mask: bool) -> bytes:
    versions = (NOTES_VERSION, MEASURES_VERSION, pillow_version)
    return _hash("check", digest, alpha_mask, *versions)


def _hash(*parts: object) -> bytes:
    return hashlib.blake2b(repr(parts).encode("ascii"), digest_size=KEY_BYTES).digest()


def _written(checked: Checked) -> bytes:
    measures = checked.measures and astuple(checked.measures)
    return json.dumps([checked.size, checked.notes, measures]).encode("ascii")


def _read(digest: str, record: bytes) -> Checked:
    (width, height), notes, measures = json.loads(record)
    return Checked((width, height), digest, tuple(notes), measures and Measures(*measures))
