"""What PEFT and diffusers keep beside the tensors: the alphas.

Their files hold no ``alpha`` tensors. PEFT writes ``adapter_config.json`` beside the file; newer
diffusers writes the same fields into the file's metadata, each behind its model's name
(``unet.lora_alpha``). Without either, alpha is the rank, which is diffusers' own assumption.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from lycoris_ext.errors import FormatError

CONFIG_FILE = "adapter_config.json"
#: Metadata key under which the content of ``CONFIG_FILE`` is handed on.
CONFIG_KEY = "peft_adapter_config"
_DIFFUSERS_KEY = "lora_adapter_metadata"
_START = "base_model.model."
# A pattern may be a regular expression; a stranger's one could keep us busy for ever.
_PLAIN = re.compile(r"[\w.-]+")
_MODELS = ("unet", "text_encoder", "text_encoder_2")
#: The field of the alpha, for LoRA and for LoHa and its kin.
_ALPHAS = ("lora_alpha", "alpha")


def is_peft(key: str) -> bool:
    """Whether PEFT wrote this key."""
    return key.startswith(_START)


def peft_alphas(
    layers: Mapping[str, Mapping[str, Tensor]], metadata: Mapping[str, str]
) -> dict[str, Tensor]:
    """Layer -> alpha, for the layers whose config says one.

    ``use_rslora`` divides by the root of the rank; the alpha that is returned makes alpha / rank of
    it.

    Raises:
        FormatError: the config is no JSON object, or its alphas are no numbers.
    """
    configs = {"": _object(metadata, CONFIG_KEY)}
    packed = _object(metadata, _DIFFUSERS_KEY)
    for model in _MODELS:
        start = f"{model}."
        configs[model] = {
            name.removeprefix(start): value
            for name, value in packed.items()
            if name.startswith(start)
        }
    alphas = {}
    for layer, tensors in layers.items():
        path = layer.removeprefix(_START)
        model, _, below = path.partition(".")
        config, path = (configs[model], below) if model in _MODELS else (configs[""], path)
        alpha = _alpha(config, path)
        if alpha is None:
            continue
        if config.get("use_rslora") and "lora_down.weight" in tensors:
            alpha *= sqrt(tensors["lora_down.weight"].shape[0])
        alphas[layer] = torch.tensor(alpha)
    return alphas


def _alpha(config: Mapping[str, Any], path: str) -> float | None:
    """The alpha of one layer: the pattern that its path ends with, or the one for all."""
    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, dict) or not all(map(_PLAIN.fullmatch, patterns)):
        raise FormatError(
            f"alpha_pattern is {patterns!r:.80}, only names of layers are understood there",
            where=CONFIG_FILE,
            fix="write the layers' names out, or save the adapter with kohya's keys",
        )
    named = [value for name, value in patterns.items() if f".{path}".endswith(f".{name}")]
    found = [*named, *(config[name] for name in _ALPHAS if name in config)]
    if not found:
        return None
    if not isinstance(found[0], (int, float)) or not 0 < found[0] < 1e30:
        raise FormatError(f"alpha is {found[0]!r}", where=f"{CONFIG_FILE}, layer {path!r}")
    return float(found[0])


def _object(metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    try:
        content = json.loads(metadata.get(key, "{}"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"is not JSON ({error})", where=key) from error
    if not isinstance(content, dict):
        raise FormatError("is not a JSON object", where=key)
    return content
