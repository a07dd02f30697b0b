"""The node that writes an adapter file."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lycoris_ext.errors import ConfigError, DataError, FormatError
from lycoris_ext.formats import AdapterState, in_precision, save_adapter
from lycoris_ext.formats.misread import misread_by
from lycoris_ext.formats.namings import COMFYUI
from lycoris_ext.formats.summary import plans_of
from lycoris_ext.network import load_network
from lycoris_ext.training.identity import IDENTITY
from lycoris_ext.words import count

from .host import adapter
from .host.adapter import content_hash
from .host.baking import baked, warnings
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
_BAKE = Widget(
    "bake",
    "BOOLEAN",
    {
        "default": False,
        "tooltip": "With a model connected: store layers that ComfyUI's own loaders compute "
        "wrongly, such as DoRA of outputs and (IA)^3, as whole differences of weights, which they "
        "compute rightly. Such a file is much larger. Apply LoRA needs no baking.",
    },
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
            # Saved workflows know widgets by their order: new ones come last.
            _BAKE,
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
        bake: bool = False,
        unique_id: str | None = None,
    ) -> dict[str, Any]:
        state, told = prepared(adapter, dtype, model, clip, bake)
        metadata = dict(state.metadata)
        if content_hash(state.tensors) != content_hash(adapter):
            metadata.pop(IDENTITY, None)  # Train would give this file out as the one it trained
        if trigger_words.strip():
            metadata["modelspec.trigger_phrase"] = trigger_words.strip()
        if comment.strip():
            metadata["ss_training_comment"] = comment.strip()
        path = free_path(name, overwrite)
        save_adapter(path, replace(state, metadata=metadata))
        show("\n".join([f"saved {path}", *told]), unique_id)
        return {"ui": {"text": [str(path)]}, "result": (str(path),)}


def prepared(
    lora: Any, dtype: str, model: Any, clip: Any, bake: bool
) -> tuple[AdapterState, list[str]]:
    """Return tensors and metadata of an adapter as they are to be written, and lines for the user.

    Args:
        lora: an adapter of our nodes or of ComfyUI's.
        dtype: a choice of the node, such as "fp16".
        model, clip: ComfyUI's; if one is connected, the keys become kohya's.
        bake: store layers that ComfyUI misreads as whole differences.

    Raises:
        DataError: the adapter is empty.
        ConfigError: `bake` is set, and no model is connected.
        FormatError: the adapter has layers that the connected model does not have.
    """
    state = adapter.state_of(lora)
    if not state.tensors:
        raise DataError("the adapter is empty", where="adapter", fix="connect a trained one")
    wanted = _DTYPES[dtype]
    if model is not None or clip is not None:
        network = load_network(state, targets_of(model, clip), keeps_origin=False)
        number = wanted or _commonest_dtype(state)
        written = network.adapter_state(state.metadata, number)
        if not bake:
            return written, warnings(network)
        written, layers = baked(written, network.cpu(), model, clip, number)
        return written, [f"{count(layers, 'layer')} baked"]
    if bake:
        raise ConfigError(
            "layers are baked for the weights of a model, and none is connected",
            where="bake",
            fix="connect the model, and the text encoder if the adapter has layers for it",
        )
    tensors = {
        key: in_precision(wanted, key, tensor).detach().cpu()
        for key, tensor in state.tensors.items()
    }
    return AdapterState(tensors, state.metadata), _misread(tensors, state)


def _misread(tensors: dict[str, Tensor], state: AdapterState) -> list[str]:
    """Say what ComfyUI's own loader does wrongly with a file that is written as it is."""
    try:
        told = misread_by(tensors, plans_of(state), state.metadata)
    except FormatError:
        return []  # an algorithm of ComfyUI's that we do not know
    return [sentence for sentence in told if sentence.startswith(COMFYUI)]


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
