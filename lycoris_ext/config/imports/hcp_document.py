"""Joining an HCP-Diffusion config with those that it names as its ``_base_``.

Source: https://github.com/IrisRainbowNeko/HCP-Diffusion at 404f0e8, hcpdiff/utils/utils.py
(load_config) and cfgs/train.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from lycoris_ext.config.imports.settings import Settings

_REMOVED = "---"
"""A value that takes a setting of a base away."""

_OWN_FOLDERS = ("cfgs/train/", "example_configs/training_configs/hcp/")
"""Folders of HCP-Diffusion, and of LyCORIS' examples, whose bases are the same."""

_TRAIN_BASE: dict[str, Any] = {
    "exp_dir": "exps",
    "mixed_precision": "fp16",
    "seed": 114514,
    "train": {
        "train_steps": 1000,
        "gradient_accumulation_steps": 1,
        "max_grad_norm": 1.0,
        "save_step": 100,
        "optimizer": {"_target_": "torch.optim.AdamW", "weight_decay": 1e-3},
        "scale_lr": True,
        "scheduler": {"name": "one_cycle", "num_warmup_steps": 200, "num_training_steps": 1000},
    },
    "model": {"tokenizer_repeats": 2, "gradient_checkpointing": True, "clip_skip": 0},
}
_LORA_CONVENTIONAL: dict[str, Any] = {
    "_base_": ["cfgs/train/dataset/base_dataset.yaml", "cfgs/train/train_base.yaml"],
    "lora_unet": [{"lr": 1e-4, "rank": 8, "layers": [r"re:.*\.attn.?$", r"re:.*\.ff$"]}],
    "lora_text_encoder": [{"lr": 1e-5, "rank": 4, "layers": ["re:.*self_attn$", "re:.*mlp$"]}],
    "train": {
        "scheduler": {
            "name": "constant_with_warmup",
            "num_warmup_steps": 50,
            "num_training_steps": 1000,
        }
    },
    "model": {
        "pretrained_model_name_or_path": "runwayml/stable-diffusion-v1-5",
        "tokenizer_repeats": 1,
    },
}
_DATASET = {"batch_size": 4, "bucket": {"target_area": 512 * 512}}
_BUILT_IN: dict[str, dict[str, Any]] = {
    "train_base.yaml": _TRAIN_BASE,
    "tuning_base.yaml": {},
    "base_dataset.yaml": {"data": {"dataset1": _DATASET}},
    "lora_conventional.yaml": _LORA_CONVENTIONAL,
    "dataset.yaml": {"data": {"dataset1": _DATASET}},
}
"""File that HCP-Diffusion brings -> what in it matters here."""


def with_bases(document: Mapping[str, Any], settings: Settings) -> tuple[dict[str, Any], set[str]]:
    """Join a document with its bases, and fill its references in.

    Args:
        document: the parsed config.
        settings: finds the bases, and gets an error for each that is not there.

    Returns:
        The joined document, and the names that it refers to: these may be names of its own.
    """
    merged = _joined(document, settings, set())
    named = _references(merged) | _references(document)
    return {name: _filled(value, merged) for name, value in merged.items()}, named


def _joined(document: Mapping[str, Any], settings: Settings, seen: set[str]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    bases = document.get("_base_", [])
    for path in bases if isinstance(bases, list) else [bases]:
        if not isinstance(path, str) or path in seen:
            continue
        merged = _over(merged, _base(_filled(path, document), settings, {*seen, path}))
    return _over(merged, {name: value for name, value in document.items() if name != "_base_"})


def _base(path: Any, settings: Settings, seen: set[str]) -> dict[str, Any]:
    """Return a base: the file if it is there, or what HCP-Diffusion's file of this name holds."""
    import yaml

    def read(text: str) -> object:
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from error

    known = _BUILT_IN.get(PurePosixPath(str(path).replace("\\", "/")).name)
    if settings.companion(str(path)) is None and known is not None:
        if known and not str(path).startswith(_OWN_FOLDERS):
            settings.miss(
                "_base_",
                path,
                "put this file beside the config; without it the settings of HCP-Diffusion's own "
                "file of this name are taken",
            )
        return _joined(known, settings, seen)
    content = settings.read_companion("_base_", path, read, "settings that this config lacks")
    return _joined(content, settings, seen) if isinstance(content, Mapping) else {}


def _over(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Join two tables; the second one's settings count, and tables in them are joined, too."""
    result = dict(base)
    for name, value in top.items():
        below = result.get(name)
        if value == _REMOVED:
            result.pop(name, None)
        elif isinstance(value, Mapping) and isinstance(below, Mapping):
            result[name] = _over(below, value)
        else:
            result[name] = dict(_over({}, value)) if isinstance(value, Mapping) else value
    return result


def _references(document: object) -> set[str]:
    """Return the names that ${...} refers to in a document: "emb_lr", "model.lr_unet"."""
    return set(re.findall(r"\$\{([\w.]+)\}", str(document)))


def _filled(value: Any, document: Mapping[str, Any], depth: int = 0) -> Any:
    """Replace references such as ${model.lr} and products such as ${hcp.eval:"512*512"}."""
    if depth > 20:  # references that name each other
        return value
    if isinstance(value, Mapping):
        return {name: _filled(part, document, depth) for name, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, document, depth) for part in value]
    if not isinstance(value, str):
        return value
    whole = re.fullmatch(r"\$\{([\w.]+)\}", value)
    if whole:
        found = _looked_up(whole[1], document)
        return value if found is None else _filled(found, document, depth + 1)
    text = re.sub(
        r"\$\{([\w.]+)\}",
        lambda match: str(_filled(match[0], document, depth + 1)),
        value,
    )
    product = re.fullmatch(r"\$\{(?:hcp\.eval|times):[\"']?([\d*,. ]+)[\"']?\}", text)
    if product and text.strip("${}"):
        factors = re.split(r"[*,]", product[1].replace(" ", ""))
        if all(factor.isdecimal() for factor in factors):
            return math.prod(int(factor) for factor in factors)
    return text


def _looked_up(path: str, document: Mapping[str, Any]) -> Any:
    found: Any = document
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
