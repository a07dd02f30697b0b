"""Reading what PEFT and diffusers store in another way: alphas, DoRA's magnitudes, other forms.

Their files hold no ``alpha`` tensors. PEFT writes the alphas to ``adapter_config.json`` in the same
folder; newer diffusers writes the same fields into the file's metadata, each with the name of its
model in front (``unet.lora_alpha``). Without either, alpha is the rank, as diffusers assumes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from lycoris_ext.errors import FormatError
from lycoris_ext.formats.families import TARGETS

CONFIG_FILE = "adapter_config.json"
#: The metadata key under which we keep the content of ``CONFIG_FILE`` after reading a file.
CONFIG_KEY = "peft_adapter_config"
_DIFFUSERS_KEY = "lora_adapter_metadata"
_START = "base_model.model."
# PEFT's patterns may be regular expressions. Only layers' names are accepted here, because a
# malicious expression could take for ever.
_PLAIN = re.compile(r"[\w.-]+")
#: The config's field for alpha: of LoRA, and of LoHa and LoKr.
_ALPHAS = ("lora_alpha", "alpha")
#: The name of DoRA's magnitudes of output channels: (out,), for convolutions (1, out, 1, 1).
_MAGNITUDE = "lora_magnitude_vector"
#: Endings of keys that we cannot read -> what they belong to.
_UNREAD = {
    "ia3_l": "(IA)^3, whose numbers are the factors; LyCORIS stores the factors minus 1",
    "oft_R.weight": "OFT, which rotates the inputs; LyCORIS' rotates the outputs",
    "boft_R": "BOFT, whose blocks have another layout than LyCORIS'",
    "boft_s": "BOFT, whose blocks have another layout than LyCORIS'",
    "lora_A.bias": "LoRA with biases of its own (lora_bias)",
    "lora_B.bias": "LoRA with biases of its own (lora_bias)",
    "lora_embedding_A": "LoRA of an embedding",
    "lora_embedding_B": "LoRA of an embedding",
}
_UNREAD_ENDS = tuple(f".{end}{adapter}" for end in _UNREAD for adapter in ("", ".default"))


def refuse_unread(keys: Iterable[str]) -> None:
    """Raise an error if a file holds tensors of a form that only PEFT has.

    Args:
        keys: all keys of the file.

    Raises:
        FormatError: one of them is in ``_UNREAD``.
    """
    for key in keys:
        if key.endswith(_UNREAD_ENDS):
            end = next(end for end in _UNREAD if f".{end}" in key)
            raise FormatError(
                f"holds PEFT's {end}: {_UNREAD[end]}",
                where=key,
                fix="merge it into the model with PEFT (merge_and_unload)",
            )


def canonical(key: str, tensor: Tensor) -> Tensor:
    """Reshape DoRA's magnitudes to (out, 1[, 1, 1]), as we store them; return others unchanged."""
    if _MAGNITUDE not in key.split("."):
        return tensor
    return tensor.reshape(-1, *[1] * max(1, tensor.ndim - 1))


def is_peft(key: str) -> bool:
    """Return True if a key begins as PEFT's keys do."""
    return key.startswith(_START)


def apply_config(layers: dict[str, dict[str, Tensor]], metadata: Mapping[str, str]) -> None:
    """Add the alphas of PEFT's or diffusers' config to the layers, in place, as tensors.

    With ``use_rslora`` PEFT divides by the square root of the rank; the alpha that is added is so
    much larger that alpha / rank gives the same scale. PEFT scales a LoKr of two whole matrices,
    too, although such a file has no rank; there the scale is multiplied into ``lokr_w2``.

    Args:
        layers: name of the layer in the file -> our name of the tensor -> tensor.
        metadata: of the file, with PEFT's config under ``CONFIG_KEY``.

    Raises:
        FormatError: the config is no JSON object, or its alphas are no numbers.
    """
    configs = {"": _object(metadata, CONFIG_KEY)}
    joint = _object(metadata, _DIFFUSERS_KEY)
    for model in TARGETS:
        start = f"{model}."
        configs[model] = {
            name.removeprefix(start): value
            for name, value in joint.items()
            if name.startswith(start)
        }
    for layer, tensors in layers.items():
        path = layer.removeprefix(_START)
        model, _, below = path.partition(".")
        config, path = (configs[model], below) if model in TARGETS else (configs[""], path)
        alpha = _number(config, path, "alpha_pattern", _ALPHAS)
        if alpha is None:
            continue
        if config.get("use_rslora") and "lora_down.weight" in tensors:
            alpha *= sqrt(tensors["lora_down.weight"].shape[0])
        if {"lokr_w1", "lokr_w2"} <= tensors.keys() and "alpha" not in tensors:
            rank = _number(config, path, "rank_pattern", ("r",))
            if rank is not None:
                tensors["lokr_w2"] = tensors["lokr_w2"] * (alpha / rank)
        tensors.setdefault("alpha", torch.tensor(alpha))


def _number(
    config: Mapping[str, Any], path: str, pattern: str, names: tuple[str, ...]
) -> float | None:
    """Look up a number of one layer in a config.

    Args:
        config: of the layer's model.
        path: of the layer.
        pattern: field of the config that maps endings of paths to numbers.
        names: fields of the config with the number for all other layers.

    Returns:
        None if the config has neither.
    """
    patterns = config.get(pattern) or {}
    if not isinstance(patterns, dict) or not all(map(_PLAIN.fullmatch, patterns)):
        raise FormatError(
            f"{pattern} is {patterns!r:.80}, only names of layers are understood there",
            where=CONFIG_FILE,
            fix="write the layers' names out, or save the adapter with kohya's keys",
        )
    named = [value for name, value in patterns.items() if f".{path}".endswith(f".{name}")]
    found = [*named, *(config[name] for name in names if name in config)]
    if not found:
        return None
    if not isinstance(found[0], (int, float)) or not 0 < found[0] < 1e30:
        what = "alpha" if names == _ALPHAS else "rank"
        raise FormatError(f"{what} is {found[0]!r}", where=f"{CONFIG_FILE}, layer {path!r}")
    return float(found[0])


def _object(metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    """Parse a metadata field that should be a JSON object; {} if the field is missing."""
    try:
        content = json.loads(metadata.get(key, "{}"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"is not JSON ({error})", where=key) from error
    if not isinstance(content, dict):
        raise FormatError("is not a JSON object", where=key)
    return content
