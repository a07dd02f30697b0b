"""Caches of tensors, such as latents, in memory or in files.

A key is a hash of everything that the tensors depend on. If a picture, an option or the base model
changes, so does the key, so that a cached tensor is never out of date. Processes that share a
folder write the same bytes under the same name.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from lycoris_ext.errors import EnvironmentFault
from lycoris_ext.files import read_bytes
from lycoris_ext.formats.atomic import atomic_write, make_folder
from lycoris_ext.formats.sealed import sealed, unsealed
from lycoris_ext.os_errors import reason, remedy_for_reading

Tensors = dict[str, Tensor]

ENDING = ".tensors"
_LEFTOVER_SECONDS = 3600.0


class TensorStore(Protocol):
    """A cache of named tensors: `MemoryStore` or `DiskStore`."""

    def load(self, key: str) -> Tensors | None:
        """Return the tensors that were saved under a key; None if there are none.

        A memory store returns them as they were saved, a disk store on the CPU.
        """

    def save(self, key: str, tensors: Tensors) -> None:
        """Save tensors under a key, in place of those that it had."""


def fetch(store: TensorStore, key: str, compute: Callable[[], Tensors]) -> Tensors:
    """Return the tensors under a key; if the store has none, compute and save them first."""
    tensors = store.load(key)
    if tensors is None:
        tensors = compute()
        store.save(key, tensors)
    return tensors


def cache_key(**depends_on: object) -> str:
    """Hash everything that tensors depend on into a key for a `TensorStore`.

    Args:
        **depends_on: JSON values. Another value or one more name gives another key.

    Returns:
        40 hexadecimal digits.
    """
    text = json.dumps(depends_on, sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8"), digest_size=20).hexdigest()


def weights_digest(modules: Mapping[str, nn.Module]) -> str:
    """Hash names, dtypes, shapes and bytes of all weights of some modules, for a cache key.

    The weights are hashed as they are in memory, so that the hash does not depend on the file that
    they came from, but does depend on their precision.

    Returns:
        40 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=20)
    for name, module in modules.items():
        digest.update(f"{name}:{type(module).__name__}\n".encode())
        for key, value in module.state_dict().items():
            digest.update(f"{key}:{value.dtype}:{tuple(value.shape)}\n".encode())
            flat = value.detach().to("cpu").contiguous().reshape(-1)
            digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return digest.hexdigest()


class MemoryStore:
    """A cache in memory; it returns the very tensors that were saved."""

    def __init__(self) -> None:
        self._kept: dict[str, Tensors] = {}

    def load(self, key: str) -> Tensors | None:
        return self._kept.get(key)

    def save(self, key: str, tensors: Tensors) -> None:
        self._kept[key] = tensors


class DiskStore:
    """A cache in a folder, one file for each key; several processes may share the folder.

    A file holds a hash of its key and content, then the content in the safetensors format. A file
    that is damaged, or was renamed, counts as missing and is written again. The time of a file is
    when it was used last, so that ``cache_folder`` can delete those that nobody needs.

    Args:
        folder: is made if it does not exist.

    Attributes:
        used: the files that were read or written through this object.

    Raises:
        EnvironmentFault: the folder cannot be made; from `load` and `save`: a file cannot be read
            or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.used: set[Path] = set()
        make_folder(folder, "cache_dir")
        remove_old_leftovers(folder)

    def load(self, key: str) -> Tensors | None:
        try:
            raw = read_bytes(self._path(key))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise EnvironmentFault(
                f"cannot be read ({reason(error)})",
                where=str(self._path(key)),
                fix=f"{remedy_for_reading(error)}, or choose another cache_dir",
            ) from error
        content = unsealed(raw, key)
        if content is None:
            return None
        self._mark(self._path(key))
        return load(content)

    def save(self, key: str, tensors: Tensors) -> None:
        content = save({name: value.to("cpu").contiguous() for name, value in tensors.items()})
        try:
            atomic_write(self._path(key), sealed(content, key))
        except EnvironmentFault:
            # Windows lets nobody replace a file that another process is just reading.
            if self.load(key) is None:
                raise
        self.used.add(self._path(key))

    def _mark(self, path: Path) -> None:
        """Note that a file is used, for this run and, by its time, for all others."""
        if path not in self.used:
            self.used.add(path)
            touch(path)

    def size(self) -> tuple[int, int]:
        """Return the number of files and their bytes together, those of other runs included."""
        with os.scandir(self.folder) as entries:
            sizes = [entry.stat().st_size for entry in entries if entry.name.endswith(ENDING)]
        return len(sizes), sum(sizes)

    def _path(self, key: str) -> Path:
        return self.folder / (key + ENDING)


def touch(path: Path) -> None:
    """Note for all runs, by the time of a cached file, that it is used now."""
    with suppress(OSError):  # the cache of another user, which may only be read
        os.utime(path)


def remove_old_leftovers(folder: Path) -> None:
    """Delete temporary files of killed processes in a cache: those that are older than an hour."""
    for path in folder.glob(f".*{ENDING}.*.tmp"):
        with suppress(FileNotFoundError):  # another process was faster
            if time.time() - path.stat().st_mtime > _LEFTOVER_SECONDS:
                path.unlink()
