"""The node that writes an adapter file."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lycoris_ext.errors import DataError
from lycoris_ext.formats import AdapterState, in_precision, save_adapter
from lycoris_ext.network import load_network

from .host import adapter
from .host.patches import targets_of
from .host.places import output_place
from .host.status import show
from .host.widgets import Widget, inputs, link

_DTYPES = {"as it is": None, "fp16": torch.float16, "bf16": torch.bfloat16, "float": torch.float32}
_NAME = Widget(
    "name",
    "STRING",
    {
        "default": "my_lora",
        "tooltip": "Name of the file in ComfyUI's first LoRA folder, without ending; people/mine "
        "puts it into the folder people.",
    },
)
_DTYPE = Widget(
    "dtype", list(_DTYPES), {"default": "as it is", "tooltip": "Number format of the file."}
)
_OVERWRITE = Widget(
    "overwrite",
    "BOOLEAN",
    {
        "default": False,
        "tooltip": "Replace a file of the same name; off: save as the next free name, NAME-2.",
    },
)
_TRIGGER = Widget(
    "trigger_words",
    "STRING",
    {
        "default": "",
        "tooltip": "Trigger words to write into the metadata, which other programs show.",
    },
)
_COMMENT = Widget(
    "comment", "STRING", {"default": "", "tooltip": "A comment to write into the metadata."}
)


class Save:
    CATEGORY = "LyCORIS/loaders"
    DESCRIPTION = (
        "Writes a LoRA or other adapter and its metadata to a file. With a model connected, the "
        "file gets kohya's keys (SD1, SD2, SDXL), which every program reads."
    )
    SEARCH_ALIASES = ("convert lora", "export lora")
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("path",)
    OUTPUT_TOOLTIPS = ("Path of the file.",)
    OUTPUT_NODE = True
    FUNCTION = "save"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        lora = link(
            "adapter",
            adapter.TYPE,
            "An adapter from Train LoRA or Read LoRA File, or from ComfyUI's own trainer.",
        )
        optional = (
            link(
                "model",
                "MODEL",
                "The model that the adapter is for; connect it to get kohya's keys.",
            ),
            link(
                "clip",
                "CLIP",
                "The text encoder, if the adapter has layers for it and a model is connected.",
            ),
            _TRIGGER,
            _COMMENT,
        )
        return inputs((lora, _NAME, _DTYPE, _OVERWRITE), optional, {"unique_id": "UNIQUE_ID"})

    def save(
        self,
        adapter: Any,
        name: str,
        dtype: str,
        overwrite: bool,
        model: Any = None,
        clip: Any = None,
        trigger_words: str = "",
        comment: str = "",
        unique_id: str | None = None,
    ) -> dict[str, Any]:
        state = prepared(adapter, dtype, model, clip)
        metadata = dict(state.metadata)
        if trigger_words.strip():
            metadata["modelspec.trigger_phrase"] = trigger_words.strip()
        if comment.strip():
            metadata["ss_training_comment"] = comment.strip()
        path = free_path(name, overwrite)
        save_adapter(path, replace(state, metadata=metadata))
        show(f"saved {path}", unique_id)
        return {"ui": {"text": [str(path)]}, "result": (str(path),)}


def prepared(lora: Any, dtype: str, model: Any, clip: Any) -> AdapterState:
    """Return tensors and metadata of an adapter as they are to be written.

    Args:
        lora: an adapter of our nodes or of ComfyUI's.
        dtype: a choice of the node, such as "fp16".
        model, clip: ComfyUI's; if one is connected, the keys become kohya's.

    Raises:
        DataError: the adapter is empty.
        FormatError: the adapter has layers that the connected model does not have.
    """
    state = adapter.state_of(lora)
    if not state.tensors:
        raise DataError("the adapter is empty", where="adapter", fix="connect a trained one")
    wanted = _DTYPES[dtype]
    if model is not None or clip is not None:
        network = load_network(state, targets_of(model, clip), keeps_origin=False)
        return network.adapter_state(state.metadata, wanted or _commonest_dtype(state))
    tensors = {
        key: in_precision(wanted, key, tensor).detach().cpu()
        for key, tensor in state.tensors.items()
    }
    return AdapterState(tensors, state.metadata)


def _commonest_dtype(state: AdapterState) -> torch.dtype | None:
    """Return the floating dtype that most numbers are stored in; None if there is none."""
    counts: Counter[torch.dtype] = Counter()
    for tensor in state.tensors.values():
        if tensor.is_floating_point():
            counts[tensor.dtype] += tensor.numel()
    return max(counts, key=counts.__getitem__, default=None)


def free_path(name: str, overwrite: bool) -> Path:
    """Return the path for this name; without overwrite, the first free of NAME, NAME-2, ..."""
    folder, stem = output_place(name)
    path, number = folder / f"{stem}.safetensors", 1
    while path.exists() and not overwrite:
        number += 1
        path = folder / f"{stem}-{number}.safetensors"
    return path
