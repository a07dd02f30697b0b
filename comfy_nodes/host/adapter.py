"""The adapter that nodes hand to each other: ComfyUI's LORA_MODEL, a dict of tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lycoris_ext.formats import AdapterState, load_adapter
from lycoris_ext.formats.container import build_header, serialize

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
    """

    def __init__(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], name: str):
        super().__init__(tensors)
        self.metadata = dict(metadata)
        self.name = name


def read_adapter(path: Path) -> Adapter:
    """Read and check an adapter file; its name becomes the adapter's.

    Raises:
        DataError, FormatError: the file cannot be opened, or is no adapter or damaged.
    """
    state = load_adapter(path)
    return Adapter(state.tensors, state.metadata, path.stem)


def state_of(lora: Mapping[str, Tensor]) -> AdapterState:
    """Turn a LORA_MODEL of our nodes or of ComfyUI's trainer into an AdapterState."""
    return AdapterState(dict(lora), dict(getattr(lora, "metadata", {})))


def name_of(lora: Mapping[str, Tensor]) -> str:
    """Return the name of a LORA_MODEL, "adapter" if it has none."""
    return str(getattr(lora, "name", "adapter"))


def content_hash(lora: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of the file that these tensors would be saved as, without metadata."""
    header, data = serialize(dict(lora))
    return hashlib.sha256(build_header(header, {}) + data).hexdigest()
