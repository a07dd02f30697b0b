"""An adapter as it travels between nodes: ComfyUI's LORA_MODEL, which is a dict of tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lycoris_ext.formats import AdapterState, load_adapter
from lycoris_ext.formats.container import build_header, serialize

#: ComfyUI's own type: LoraModelLoader and SaveLoRA take it, and our nodes take theirs.
TYPE = "LORA_MODEL"


class Adapter(dict[str, Tensor]):
    """Tensors by their keys in a file, and what the file says about itself.

    Args:
        tensors: by full key.
        metadata: of the file.
        name: what grids and messages call it.
    """

    def __init__(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], name: str):
        super().__init__(tensors)
        self.metadata = dict(metadata)
        self.name = name


def read_adapter(path: Path) -> Adapter:
    """An adapter file, read and checked.

    Raises:
        DataError, FormatError: as load_adapter.
    """
    state = load_adapter(path)
    return Adapter(state.tensors, state.metadata, path.stem)


def state_of(lora: Mapping[str, Tensor]) -> AdapterState:
    """The core's view of what our nodes or ComfyUI's trainer made."""
    return AdapterState(dict(lora), dict(getattr(lora, "metadata", {})))


def name_of(lora: Mapping[str, Tensor]) -> str:
    return str(getattr(lora, "name", "adapter"))


def content_hash(lora: Mapping[str, Tensor]) -> str:
    """SHA-256 of the file that the tensors would be, without metadata."""
    header, data = serialize(dict(lora))
    return hashlib.sha256(build_header(header, {}) + data).hexdigest()
