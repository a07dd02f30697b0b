"""LoRA files of github.com/cloneofsimo/lora, which number the layers instead of naming them.

The n-th layer is the n-th that the tool found when it went through the model: all Linear layers
(with ResNets also the convolutions) inside modules of certain classes, in the order in which
diffusers creates them. Two orders exist, because diffusers' transformer block once created the
feed-forward before the second attention. Which one a file has is seen in its shapes.

    unet:0:up, unet:0:down, text_encoder:0:up, ...   .safetensors; metadata "unet": '["GEGLU", ...]'
    a list [up, down, up, down, ...]                 .pt; one file for each model

A textual inversion in such a file (``<token>``) gets the key that OneTrainer gives it. There is no
alpha: the update is up @ down.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from lycoris_ext.errors import FormatError
from lycoris_ext.formats.embeddings import embedding_key
from lycoris_ext.formats.json_text import parse_json
from lycoris_ext.words import count

_KEY = re.compile(r"(unet|text_encoder):([0-9]{1,6}):(up|down)")
_PLACE = re.compile(r"[0-9]{1,6}")
_RANK = re.compile(r"\w+:\d+:rank")
_EMBED = "<embed>"
_FACTORS = {"up": "lora_up.weight", "down": "lora_down.weight"}

_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
_CLIP_ATTENTION = ("k_proj", "v_proj", "q_proj", "out_proj")
_RESNET = ("conv1", "time_emb_proj", "conv2")
_FEED_FORWARD = "ff.net.0.proj"
_OLD_ORDER, _NEW_ORDER = ("attn1", "ff", "attn2"), ("attn1", "attn2", "ff")
_RESNETS, _GEGLU = "ResnetBlock2D", "GEGLU"

#: The U-Net of SD 1 and SD 2 in the order of its blocks: (path, number of attentions, of resnets,
#: numbers of the resnets with a shortcut).
_BLOCKS = (
    ("down_blocks.0", 2, 2, ()),
    ("down_blocks.1", 2, 2, (0,)),
    ("down_blocks.2", 2, 2, (0,)),
    ("down_blocks.3", 0, 2, ()),
    ("up_blocks.0", 0, 3, (0, 1, 2)),
    *((f"up_blocks.{n}", 3, 3, (0, 1, 2)) for n in (1, 2, 3)),
    ("mid_block", 1, 2, ()),
)


def is_numbered(keys: Collection[str]) -> bool:
    """Return True if the keys of a file are those of this tool."""
    return bool(numbered(keys))


def numbered(keys: Collection[str]) -> list[str]:
    """Return the keys of the numbered layers of a file; none if it is of another tool."""
    return list(keys) if _is_list(keys) else [key for key in keys if _KEY.fullmatch(key)]


def named(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], where: str
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of such a file under diffusers' names, and the metadata without numbers.

    Args:
        tensors: key -> tensor.
        metadata: of the file.
        where: path of the file, for messages.

    Raises:
        FormatError: the layers are not those of SD 1 or SD 2, or some are missing.
    """
    numbered = _KEY if not _is_list(tensors) else _PLACE
    words = {k for k in tensors if metadata.get(k) == _EMBED and not numbered.fullmatch(k)}
    flat = [key for key, t in tensors.items() if t.ndim < (1 if key in words else 2)]
    if flat:
        raise FormatError(f"{flat[0]!r} is no matrix", where=where, fix="the file is no adapter")
    models: dict[str, dict[int, dict[str, Tensor]]] = {}
    result: dict[str, Tensor] = {}
    for model, number, factor, key in _parts(tensors):
        if model:
            models.setdefault(model, {}).setdefault(number, {})[factor] = tensors[key]
        elif metadata.get(key) == _EMBED:
            result[embedding_key(key)] = torch.atleast_2d(tensors[key])
        else:
            raise FormatError(f"holds {key!r} beside numbered layers", where=where)
    for model, layers in models.items():
        factors = [layers.get(number, {}) for number in range(len(layers))]
        if any(found.keys() != _FACTORS.keys() for found in factors):
            raise FormatError(
                f"its layers of the {model} have gaps in their numbers, or lack a factor",
                where=where,
                fix="the file is incomplete: get it again",
            )
        paths = _paths(model, factors, metadata.get(model), where)
        for path, found in zip(paths, factors, strict=True):
            for factor, tensor in found.items():
                result[f"{model}.{path}.{_FACTORS[factor]}"] = tensor
    kept = {
        name: text
        for name, text in metadata.items()
        if name not in models and text != _EMBED and not _RANK.fullmatch(name)
    }
    return result, kept


def _is_list(keys: Collection[str]) -> bool:
    return bool(keys) and all(map(_PLACE.fullmatch, keys))


def _parts(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, int, str, str]]:
    """Yield (model, number of the layer, "up" or "down", key) of each tensor; "" for others."""
    if _is_list(tensors):
        widths = {int(tensors[key].shape[0]) for key in tensors if int(key) % 2 == 0}
        # CLIP's attention has one width; those of the U-Net's layers differ.
        model = "text_encoder" if len(widths) == 1 else "unet"
        for key in tensors:
            yield model, int(key) // 2, ("up", "down")[int(key) % 2], key
        return
    for key in tensors:
        found = _KEY.fullmatch(key)
        yield (found[1], int(found[2]), found[3], key) if found else ("", 0, "", key)


def _paths(
    model: str, factors: Sequence[Mapping[str, Tensor]], classes: str | None, where: str
) -> list[str]:
    """Return the module path of each numbered layer.

    Args:
        model: "unet" or "text_encoder".
        factors: of each layer.
        classes: JSON, the classes inside which layers are adapted; None: not known.
        where: path of the file, for messages.
    """
    if model == "text_encoder":
        if len(factors) % len(_CLIP_ATTENTION) == 0:
            return [
                f"text_model.encoder.layers.{n}.self_attn.{name}"
                for n in range(len(factors) // len(_CLIP_ATTENTION))
                for name in _CLIP_ATTENTION
            ]
    else:
        up = [int(found["up"].shape[0]) for found in factors]
        down = [int(found["down"].shape[1]) for found in factors]
        order = _OLD_ORDER if len(up) > 4 and up[4] == 8 * down[4] else _NEW_ORDER
        for geglu, resnets in ((True, False), (False, False), (True, True), (False, True)):
            paths = list(_unet_paths(order if geglu else ("attn1", "attn2"), resnets))
            if len(paths) == len(factors) and _agrees(classes, geglu, resnets):
                return paths
    raise FormatError(
        f"numbers {count(len(factors), 'layer')} of the {model}, which are not those of Stable "
        "Diffusion 1 or 2",
        where=where,
        fix="merge it into its model with the tool that wrote it (lora_add)",
    )


def _agrees(classes: str | None, geglu: bool, resnets: bool) -> bool:
    try:
        found = parse_json(classes) if classes is not None else None
    except ValueError:
        found = None
    return not isinstance(found, list) or (_GEGLU in found, _RESNETS in found) == (geglu, resnets)


def _unet_paths(order: Sequence[str], resnets: bool) -> Iterator[str]:
    """Yield the paths of the adapted layers of the U-Net, in the tool's order."""
    for block, attentions, count_resnets, shortcuts in _BLOCKS:
        for number in range(attentions):
            inside = f"{block}.attentions.{number}.transformer_blocks.0"
            for part in order:
                names = (_FEED_FORWARD,) if part == "ff" else (f"{part}.{n}" for n in _ATTENTION)
                yield from (f"{inside}.{name}" for name in names)
        for number in range(count_resnets if resnets else 0):
            more = ("conv_shortcut",) if number in shortcuts else ()
            yield from (f"{block}.resnets.{number}.{name}" for name in (*_RESNET, *more))
