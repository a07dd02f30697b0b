"""The adapter that nodes hand to each other: ComfyUI's LORA_MODEL, a dict of tensors."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lycoris_ext.formats import AdapterState, load_adapter
from lycoris_ext.formats.container import build_header, serialize
from lycoris_ext.formats.doubts import changed

#: ComfyUI's own type, so that its LoraModelLoader, SaveLoRA and trainer work with our nodes.
TYPE = "LORA_MODEL"
#: Several adapters in order: a tuple of the paths of their files, which are read when they are due.
SEVERAL = "LYCORIS_ADAPTERS"


class Adapter(dict[str, Tensor]):
    """A dict from file key to tensor, with the file's metadata and a name to display.

    It is a dict because ComfyUI's LORA_MODEL is one, so that ComfyUI's own nodes accept it.

    Args:
        tensors: by their full keys, such as "lora_unet_..._proj_in.alpha".
        metadata: of the file.
        name: the adapter's name in grids and messages.
        notes: what is strange about its file, one sentence each.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        metadata: Mapping[str, str],
        name: str,
        notes: tuple[str, ...] = (),
    ):
        super().__init__(tensors)
        self.metadata = dict(metadata)
        self.name = name
        self.notes = notes


def read_adapter(path: Path) -> Adapter:
    """Read and check an adapter file; its name becomes the adapter's.

    If its tensors do not fit the hash in the file, the log says so, and so does each node that
    applies the adapter.

    Raises:
        DataError, FormatError: the file cannot be opened, or is no adapter or damaged.
    """
    state = load_adapter(path)
    notes = changed(state.hash_check())
    for note in notes:
        logging.warning("LyCORIS: %s: %s", path.name, note)
    return Adapter(state.tensors, state.metadata, path.stem, notes)


def state_of(lora: Mapping[str, Tensor]) -> AdapterState:
    """Turn a LORA_MODEL of our nodes or of ComfyUI's trainer into an AdapterState."""
    return AdapterState(dict(lora), dict(getattr(lora, "metadata", {})))


def notes_of(lora: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return what is strange about the file of a LORA_MODEL; () if nothing is known."""
    return tuple(getattr(lora, "notes", ()))


def name_of(lora: Mapping[str, Tensor]) -> str:
    """Return the name of a LORA_MODEL, "adapter" if it has none."""
    return str(getattr(lora, "name", "adapter"))


def content_hash(lora: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of the file that these tensors would be saved as, without metadata."""
    header, data = serialize(dict(lora))
    return hashlib.sha256(build_header(header, {}) + data).hexdigest()
