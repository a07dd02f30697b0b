"""Tensors that were computed once, kept in memory or in files, found by what they depend on.

A key is a hash over everything the tensors are a function of. Whatever changes (a picture, an
option, the base model) changes the key, so that what is found is never out of date; processes that
share a folder write the same bytes under the same name.
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
from lycoris_ext.formats.atomic import atomic_write, make_folder

Tensors = dict[str, Tensor]

ENDING = ".tensors"
_DIGEST_BYTES = 32
_LEFTOVER_SECONDS = 3600.0


class TensorStore(Protocol):
    """Where tensors are kept."""

    def load(self, key: str) -> Tensors | None:
        """The tensors under a key, on the device they were saved from or the CPU; None: none."""

    def save(self, key: str, tensors: Tensors) -> None:
        """Keep tensors under a key."""


def fetch(store: TensorStore, key: str, compute: Callable[[], Tensors]) -> Tensors:
    """What the store holds under a key; computed and kept where it holds nothing."""
    tensors = store.load(key)
    if tensors is None:
        tensors = compute()
        store.save(key, tensors)
    return tensors


def cache_key(**depends_on: object) -> str:
    """Hash of everything that tensors depend on, as hex.

    Args:
        **depends_on: JSON values; a name more is another key.
    """
    text = json.dumps(depends_on, sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8"), digest_size=20).hexdigest()


def weights_digest(modules: Mapping[str, nn.Module]) -> str:
    """Hash over names, dtypes, shapes and bytes of all weights, as hex.

    Taken from the weights as they lie in memory: one file or a folder, half or full precision, a
    VAE of another model, all of it is in these bytes.
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
    """Tensors in memory, as they are."""

    def __init__(self) -> None:
        self._kept: dict[str, Tensors] = {}

    def load(self, key: str) -> Tensors | None:
        return self._kept.get(key)

    def save(self, key: str, tensors: Tensors) -> None:
        self._kept[key] = tensors


class DiskStore:
    """Tensors in files, one for each key; several processes may share the folder.

    A file is a hash of the rest of it, then safetensors. A file that is damaged, or lies under a
    wrong name, counts as none and is written anew.

    Args:
        folder: made if it is not there.

    Raises:
        EnvironmentFault: the folder cannot be made; in `load` and `save`, a file cannot be read or
            written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_folder(folder, "choose another cache_dir")
        self._remove_leftovers()

    def load(self, key: str) -> Tensors | None:
        try:
            raw = self._path(key).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise EnvironmentFault(
                f"cannot be read ({error.strerror})",
                where=str(self._path(key)),
                fix="choose another cache_dir, or delete this one",
            ) from error
        digest, content = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
        return load(content) if digest == _digest(key, content) else None

    def save(self, key: str, tensors: Tensors) -> None:
        content = save({name: value.to("cpu").contiguous() for name, value in tensors.items()})
        try:
            atomic_write(self._path(key), _digest(key, content) + content)
        except EnvironmentFault:
            # Windows lets nobody replace a file that another process is just reading.
            if self.load(key) is None:
                raise

    def size(self) -> tuple[int, int]:
        """Number of files and their bytes, those of other runs included."""
        with os.scandir(self.folder) as entries:
            sizes = [entry.stat().st_size for entry in entries if entry.name.endswith(ENDING)]
        return len(sizes), sum(sizes)

    def _path(self, key: str) -> Path:
        return self.folder / (key + ENDING)

    def _remove_leftovers(self) -> None:
        """Delete what killed writers left; a file as old as that is nobody's any more."""
        for path in self.folder.glob(f".*{ENDING}.*.tmp"):
            with suppress(FileNotFoundError):  # another process was faster
                if time.time() - path.stat().st_mtime > _LEFTOVER_SECONDS:
                    path.unlink()


def _digest(key: str, content: bytes) -> bytes:
    return hashlib.blake2b(key.encode() + content, digest_size=_DIGEST_BYTES).digest()
