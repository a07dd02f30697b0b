"""Names and bytes: layers' keys, safetensors files, metadata. Never nn.Module."""

from lycoris_ext.formats.adapter_file import (
    AdapterState,
    load_adapter,
    open_adapter,
    parse_adapter,
    save_adapter,
)
from lycoris_ext.formats.atomic import atomic_write

__all__ = [
    "AdapterState",
    "atomic_write",
    "load_adapter",
    "open_adapter",
    "parse_adapter",
    "save_adapter",
]
