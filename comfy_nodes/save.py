"""The node that writes an adapter file."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lycoris_ext.errors import DataError
from lycoris_ext.formats import AdapterState, save_adapter
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
        "tooltip": "File name without ending, below the first LoRA folder; people/mine for a "
        "folder of its own.",
    },
)
_DTYPE = Widget("dtype", list(_DTYPES), {"default": "as it is", "tooltip": "Numbers of the file."})
_OVERWRITE = Widget(
    "overwrite",
    "BOOLEAN",
    {"default": False, "tooltip": "Replace a file of this name; off: take the next free name."},
)
_TRIGGER = Widget(
    "trigger_words",
    "STRING",
    {"default": "", "tooltip": "Written into the metadata, where other programs read them."},
)
_COMMENT = Widget("comment", "STRING", {"default": "", "tooltip": "Written into the metadata."})


class Save:
    CATEGORY = "LyCORIS"
    DESCRIPTION = (
        "Writes an adapter with its metadata. With a model connected, the keys become kohya's "
        "(SD1, SD2, SDXL), which every program reads, whoever trained it."
    )
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("path",)
    OUTPUT_TOOLTIPS = ("The file.",)
    OUTPUT_NODE = True
    FUNCTION = "save"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        lora = link("adapter", adapter.TYPE, "From Train or Load, or ComfyUI's own trainer.")
        optional = (
            link("model", "MODEL", "The model it is for: the keys are then written anew."),
            link("clip", "CLIP", "The text encoder, where the adapter is for it, too."),
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
        path = free_place(name, overwrite)
        save_adapter(path, replace(state, metadata=metadata))
        show(f"saved {path}", unique_id)
        return {"ui": {"text": [str(path)]}, "result": (str(path),)}


def prepared(lora: Any, dtype: str, model: Any, clip: Any) -> AdapterState:
    """An adapter's content as it is to be written.

    Raises:
        DataError: it is empty.
        FormatError: with a model connected, layers that it does not have.
    """
    state = adapter.state_of(lora)
    if not state.tensors:
        raise DataError("the adapter is empty", where="adapter", fix="connect a trained one")
    wanted = _DTYPES[dtype]
    if model is not None or clip is not None:
        network = load_network(state, targets_of(model, clip), keeps_origin=False)
        return network.adapter_state(state.metadata, wanted or _commonest_dtype(state))
    tensors = {
        key: tensor.to(wanted) if wanted and tensor.is_floating_point() else tensor
        for key, tensor in state.tensors.items()
    }
    return AdapterState({key: t.detach().cpu() for key, t in tensors.items()}, state.metadata)


def _commonest_dtype(state: AdapterState) -> torch.dtype | None:
    """What most of the numbers are stored in; None where there are whole ones alone."""
    counts: Counter[torch.dtype] = Counter()
    for tensor in state.tensors.values():
        if tensor.is_floating_point():
            counts[tensor.dtype] += tensor.numel()
    return max(counts, key=counts.__getitem__, default=None)


def free_place(name: str, overwrite: bool) -> Path:
    """The file of this name, or the next that is not there."""
    folder, stem = output_place(name)
    path, number = folder / f"{stem}.safetensors", 1
    while path.exists() and not overwrite:
        number += 1
        path = folder / f"{stem}-{number}.safetensors"
    return path
