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
from lycoris_ext.config.imports.yaml_text import parse_yaml
from lycoris_ext.errors import ConfigError

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

MOST_BASES = 100
"""Bases of a config, those of its bases counted."""
MOST_FILLED = 1_000_000
"""Characters of a config whose references are filled in."""
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")
#: A few factors: the product of a million digits would take minutes.
_PRODUCT = re.compile(r"\$\{(?:hcp\.eval|times):[\"']?([\d*,. ]{1,100})[\"']?\}")


def with_bases(document: Mapping[str, Any], settings: Settings) -> tuple[dict[str, Any], set[str]]:
    """Join a document with its bases, and fill its references in.

    Args:
        document: the parsed config.
        settings: finds the bases, and gets an error for each that is not there.

    Returns:
        The joined document, and the names that it refers to: these may be names of its own.
    """
    merged = _joined(document, settings, set(), [])
    named = _references(merged) | _references(document)
    references = _References(merged, settings.where)
    return {name: references.filled(value) for name, value in merged.items()}, named


def _joined(
    document: Mapping[str, Any], settings: Settings, seen: set[str], opened: list[str]
) -> dict[str, Any]:
    """Join a document with its bases.

    Args:
        document: the parsed config, or one of its bases.
        settings: finds the bases.
        seen: the bases that led here: none is its own base.
        opened: all bases so far.
    """
    merged: dict[str, Any] = {}
    bases = document.get("_base_", [])
    for path in bases if isinstance(bases, list) else [bases]:
        if not isinstance(path, str) or path in seen:
            continue
        opened.append(path)
        if len(opened) > MOST_BASES:
            raise ConfigError(
                f"it has more than {MOST_BASES} bases (_base_), those of bases counted",
                where=settings.where,
                fix="join them to one file",
            )
        filled = _References(document, settings.where).filled(path)
        merged = _over(merged, _base(filled, settings, {*seen, path}, opened))
    return _over(merged, {name: value for name, value in document.items() if name != "_base_"})


def _base(path: Any, settings: Settings, seen: set[str], opened: list[str]) -> dict[str, Any]:
    """Return a base: the file if it is there, or what HCP-Diffusion's file of this name holds."""

    def read(text: str) -> object:
        try:
            return parse_yaml(text, settings.where)
        except ConfigError as error:
            raise ValueError(error.what) from error

    known = _BUILT_IN.get(PurePosixPath(str(path).replace("\\", "/")).name)
    if settings.companion(str(path)) is None and known is not None:
        if known and not str(path).startswith(_OWN_FOLDERS):
            settings.miss(
                "_base_",
                path,
                "put this file beside the config; without it the settings of HCP-Diffusion's own "
                "file of this name are taken",
            )
        return _joined(known, settings, seen, opened)
    content = settings.read_companion("_base_", path, read, "settings that this config lacks")
    return _joined(content, settings, seen, opened) if isinstance(content, Mapping) else {}


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
    return set(_REFERENCE.findall(str(document)))


class _References:
    """Fills in references such as ${model.lr} and products such as ${hcp.eval:"512*512"}.

    Args:
        document: what the references refer to.
        where: its name, for messages.
    """

    def __init__(self, document: Mapping[str, Any], where: str) -> None:
        self._document = document
        self._where = where
        self._room = MOST_FILLED

    def filled(self, value: Any, depth: int = 0) -> Any:
        """Return a value without references.

        Raises:
            ConfigError: references to references unfold to more than ``MOST_FILLED`` characters.
        """
        self._room -= len(value) if isinstance(value, str) else 1
        if self._room < 0:
            raise ConfigError(
                f"its references (${{...}}) unfold to more than {MOST_FILLED:,} characters",
                where=self._where,
                fix="write out what they stand for",
            )
        if depth > 20:  # references that name each other
            return value
        if isinstance(value, Mapping):
            return {name: self.filled(part, depth) for name, part in value.items()}
        if isinstance(value, list):
            return [self.filled(part, depth) for part in value]
        if not isinstance(value, str):
            return value
        whole = _REFERENCE.fullmatch(value)
        if whole:
            found = _looked_up(whole[1], self._document)
            return value if found is None else self.filled(found, depth + 1)
        text = _REFERENCE.sub(lambda match: str(self.filled(match[0], depth + 1)), value)
        product = _PRODUCT.fullmatch(text)
        if product:
            factors = re.split(r"[*,]", product[1].replace(" ", ""))
            if all(factor.isdecimal() for factor in factors):
                return math.prod(int(factor) for factor in factors)
        return text


def _looked_up(path: str, document: Mapping[str, Any]) -> Any:
    found: Any = document
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
