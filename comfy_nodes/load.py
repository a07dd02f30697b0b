"""The node that reads an adapter file."""

from __future__ import annotations

from typing import Any

from .host import adapter
from .host.places import adapter_file, adapter_files
from .host.widgets import chooser, inputs


class Load:
    CATEGORY = "LyCORIS/loaders"
    DESCRIPTION = (
        "Reads a LoRA file of any algorithm, with the keys of any program, and checks that it is "
        "not damaged. It is not applied to a model yet."
    )
    SEARCH_ALIASES = ("lora loader", "load adapter")
    RETURN_TYPES = (adapter.TYPE, "STRING")
    RETURN_NAMES = ("adapter", "path")
    OUTPUT_TOOLTIPS = (
        "The adapter, for Apply LoRA, Compare LoRAs, Save LoRA, or ComfyUI's LoraModelLoader.",
        "Path of the file.",
    )
    FUNCTION = "read"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return inputs((chooser("file", adapter_files(), "A file in ComfyUI's LoRA folders."),))

    @classmethod
    def IS_CHANGED(cls, file: str | None = None, **_: Any) -> str:
        return changed(file)

    def read(self, file: str) -> tuple[adapter.Adapter, str]:
        path = adapter_file(file)
        return adapter.read_adapter(path), str(path)


def changed(name: str | None) -> str:
    """Return a text that changes when an adapter file is written; "" if there is no such file.

    Args:
        name: as ComfyUI lists it; None comes from another node.
    """
    if name not in adapter_files():
        return ""
    state = adapter_file(name).stat()
    return f"{state.st_size}:{state.st_mtime_ns}"
