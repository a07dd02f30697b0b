"""SimpleTuner's network: PEFT's LoRA, or LyCORIS with a JSON file of its own.

Source: https://github.com/bghira/SimpleTuner at bc8e6ab, helpers/models/common.py (which layers),
helpers/training/trainer.py (LyCORIS), documentation/LYCORIS.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lycoris_ext.config.imports.json_text import read_json
from lycoris_ext.config.imports.settings import Settings, as_arguments, flag, number, share, whole
from lycoris_ext.config.imports.unet_layers import any_of, leave_out_others

_CLASSES = {
    "Attention": r"attn[12]\.",
    "FeedForward": r"ff\.net\.",
    "BasicTransformerBlock": r"transformer_blocks\.",
    "Transformer2DModel": r"attentions\.",
    "ResnetBlock2D": r"resnets\.",
    "Downsample2D": r"downsamplers\.",
    "Upsample2D": r"upsamplers\.",
    "TimestepEmbedding": r"time_embedding\.",
}
"""Class of modules in a U-Net of diffusers -> what the names of layers inside such modules hold."""

_SIZES = {"dim": "network_dim", "alpha": "network_alpha"}


def read_network(settings: Settings) -> None:
    """Read the network; only the U-Net gets one."""
    settings.values["network_train_unet_only"] = True
    start = settings.take("init_lora")
    if start is not None:
        settings.values["network_weights"] = start
    kind = settings.take_word("lora_type", "standard").lower()
    if kind == "lycoris":
        _read_lycoris(settings)
    else:
        _read_peft(settings)
    if kind not in ("standard", "lycoris"):
        settings.refuse("lora_type", kind, "use standard or lycoris")
    for name in ("init_lokr_norm", "slider_lora_target", "assistant_lora_path"):
        value = settings.take(name)
        if value not in (None, False):
            settings.refuse(name, value, "train without it")


def _read_peft(settings: Settings) -> None:
    rank = settings.take_as(whole, "lora_rank", 16)
    settings.values |= {
        "algo": "lora",
        "conv_dim": 0,
        "network_dim": rank,
        "network_alpha": settings.take_as(number, "lora_alpha", float(rank)),
        "network_dropout": settings.take_as(share, "lora_dropout", 0.1),
    }
    if settings.take_as(flag, "use_dora", False):  # PEFT trains the lengths of outputs
        settings.values |= {"dora_wd": True, "wd_on_output": True}
    for name, usual in (("peft_lora_mode", "standard"), ("lora_init_type", "default")):
        value = settings.take(name, usual)
        if value != usual:
            settings.refuse(name, value, f'use "{usual}"')
    layers = settings.take_list("peft_lora_target_modules")
    if layers:  # PEFT compares the ends of names
        names = [name.strip() for layer in layers for name in str(layer).split(",")]
        patterns = [rf"(?:^|\.){re.escape(name)}$" for name in names]
        settings.values["exclude"] = [leave_out_others(patterns)]
    else:
        settings.values["preset"] = "attn-only"


def _read_lycoris(settings: Settings) -> None:
    for name in ("lora_rank", "lora_alpha", "lora_dropout", "lora_init_type", "use_dora"):
        settings.take(name)
    path = settings.take_word("lycoris_config", "config/lycoris_config.json")
    content = settings.read_companion("lycoris_config", path, read_json, "the network's settings")
    if not isinstance(content, Mapping):
        return
    options = {name: value for name, value in content.items() if value is not None}
    preset = options.pop("apply_preset", None)
    strength = options.pop("multiplier", 1.0)
    if strength != 1:
        settings.refuse(
            "lycoris_config: multiplier", strength, "set it to 1 and multiply linear_alpha by it"
        )
    part = Settings(settings.program, settings.where, options)
    settings.values["network_dim"] = part.take_as(whole, "linear_dim", 4)
    settings.values["network_alpha"] = part.take_as(number, "linear_alpha", 1.0)
    algorithm = part.take_word("algo", "lora").lower()
    # LyCORIS's "lora" also adapts convolutions larger than 1x1.
    settings.values["algo"] = "locon" if algorithm == "lora" else algorithm
    settings.values["network_args"] = as_arguments(part.left)
    settings.join("lycoris_config", part)
    if isinstance(preset, Mapping):
        _read_preset(settings, preset)


def _read_preset(settings: Settings, preset: Mapping[str, Any]) -> None:
    """Read the choice of layers by the classes that they are in, with settings for some."""
    classes = preset.get("target_module", preset.get("unet_target_module", []))
    classes = [str(name) for name in classes] if isinstance(classes, list) else []
    unknown = [name for name in classes if name not in _CLASSES]
    if unknown:
        settings.refuse(
            "apply_preset.target_module",
            unknown,
            f"use classes of a U-Net: {', '.join(_CLASSES)}; or name layers with include",
        )
    known = [_CLASSES[name] for name in classes if name in _CLASSES]
    if known:
        settings.values["exclude"] = [leave_out_others(known)]
    overrides: list[dict[str, object]] = []
    own = preset.get("module_algo_map", {})
    for name, table in own.items() if isinstance(own, Mapping) else ():
        if name not in classes or not isinstance(table, Mapping):
            continue  # layers that are not adapted
        if name in _CLASSES:
            override: dict[str, object] = {"match": rf"^unet\.{any_of([_CLASSES[name]])}"}
            for option, value in table.items():
                override[_SIZES.get(option, str(option))] = value
            overrides.append(override)
    if overrides:
        settings.values["overrides"] = overrides
    for name in preset:
        if name not in ("target_module", "unet_target_module", "module_algo_map", "lora_prefix"):
            settings.refuse(
                f"apply_preset.{name}", preset[name], "name layers with include and exclude"
            )
