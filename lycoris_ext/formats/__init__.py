"""Adapter files and base model files: names of layers, bytes, metadata; no models of torch."""

from lycoris_ext.formats.adapter_file import (
    AdapterState,
    in_precision,
    load_adapter,
    open_adapter,
    parse_adapter,
    save_adapter,
)
from lycoris_ext.formats.atomic import atomic_write

__all__ = [
    "AdapterState",
    "atomic_write",
    "in_precision",
    "load_adapter",
    "open_adapter",
    "parse_adapter",
    "save_adapter",
]
