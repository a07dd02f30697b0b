"""The node that reads an adapter file."""

from __future__ import annotations

from typing import Any

from .host import adapter
from .host.places import adapter_file, adapter_files
from .host.widgets import Widget, inputs


class Load:
    CATEGORY = "LyCORIS"
    DESCRIPTION = (
        "Reads an adapter file of any algorithm, with the keys of any program, and checks that "
        "it is not damaged."
    )
    RETURN_TYPES = (adapter.TYPE, "STRING")
    RETURN_NAMES = ("adapter", "path")
    OUTPUT_TOOLTIPS = (
        "The adapter, for Apply, Compare Grid, Save, or ComfyUI's LoraModelLoader.",
        "Path of the file.",
    )
    FUNCTION = "read"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return inputs(
            (Widget("file", adapter_files(), {"tooltip": "A file in ComfyUI's LoRA folders."}),)
        )

    @classmethod
    def IS_CHANGED(cls, file: str, **_: Any) -> str:
        state = adapter_file(file).stat()
        return f"{state.st_size}:{state.st_mtime_ns}"

    def read(self, file: str) -> tuple[adapter.Adapter, str]:
        path = adapter_file(file)
        return adapter.read_adapter(path), str(path)
