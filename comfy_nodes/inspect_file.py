"""The node that describes an adapter file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lycoris_ext.cli.info import describe
from lycoris_ext.formats.summary import summarize

from .host.places import adapter_file, adapter_files
from .host.status import show
from .host.widgets import Widget, inputs
from .load import changed

_CONNECTED = "(connected path)"


class Inspect:
    CATEGORY = "LyCORIS/loaders"
    DESCRIPTION = (
        "Describes a LoRA file: algorithm, layers, sizes, trigger words, programs that misread "
        "it, and all its metadata."
    )
    SEARCH_ALIASES = ("lora info", "lora metadata", "trigger words")
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("summary",)
    OUTPUT_TOOLTIPS = ("The description, for a node that shows text.",)
    OUTPUT_NODE = True
    FUNCTION = "tell"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        file = Widget(
            "file",
            [_CONNECTED, *adapter_files()],
            {
                "tooltip": "A file in ComfyUI's LoRA folders; (connected path): the file that the "
                "input path names."
            },
        )
        path = Widget(
            "path",
            "STRING",
            {
                "forceInput": True,
                "tooltip": "Path of an adapter file, from Read LoRA File, Train LoRA or Save LoRA. "
                "It is used if file is (connected path).",
            },
        )
        return inputs((file,), (path,), {"unique_id": "UNIQUE_ID"})

    @classmethod
    def IS_CHANGED(cls, file: str | None = None, **_: Any) -> str:
        return changed(file)

    def tell(
        self, file: str, path: str | None = None, unique_id: str | None = None
    ) -> dict[str, Any]:
        place = Path(path) if path and file == _CONNECTED else adapter_file(file)
        text = "\n".join(describe(summarize(place)))
        show(text, unique_id)
        return {"ui": {"text": [text]}, "result": (text,)}
