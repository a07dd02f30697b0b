"""Files that are no config of a training of adapters: each is named for what it is.

A new kind of file is one more row of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lycoris_ext.config.imports.foreign import Foreign, Format
from lycoris_ext.errors import ConfigError

Document = Mapping[str, Any]

_BY_HAND = (
    "lycoris-ext init FOLDER writes a config for a folder of pictures; copy the values into it"
)


def _has(*names: str) -> Callable[[Document], bool]:
    return lambda document: set(names) <= document.keys()


def _has_prompts(document: Document) -> bool:
    prompt = document.get("prompt")
    return isinstance(prompt, Mapping) and isinstance(prompt.get("subset"), list)


def _is_preset(document: Document) -> bool:
    names = {"module_algo_map", "name_algo_map", "target_module", "unet_target_module"}
    return bool(names & document.keys()) and "network_dim" not in document


def _is_of_diffusers(document: Document) -> bool:
    script = str(document.get("training_script", ""))
    names = {"instance_data_dir", "instance_prompt", "dataset_name"}
    return script.startswith(("train_dreambooth", "train_text_to_image")) or bool(
        names & document.keys() and "pretrained_model_name_or_path" in document
    )


_ROWS: tuple[tuple[Callable[[Document], bool], str, str], ...] = (
    (
        _has_prompts,
        "holds prompts for pictures, it is no training config",
        "draw them with lycoris-ext sample --sample-prompts FILE, or name it as sample_prompts",
    ),
    (
        _is_preset,
        "is a LyCORIS preset, which chooses layers; it is no training config",
        'name it in your config: preset = "FILE.toml"',
    ),
    (
        _has("train_iterations", "network_rank", "mode"),
        "is a config of sd-webui-traintrain, whose ways of training (LECO, difference) are others",
        _BY_HAND,
    ),
    (
        _is_of_diffusers,
        "is a command line of diffusers' training scripts, which has no counterpart for data sets",
        f"{_BY_HAND}: rank is network_dim and network_alpha, instance_data_dir is image_dir",
    ),
    (
        _has("compute_environment", "distributed_type"),
        "holds the settings of accelerate, it is no training config",
        "it is not needed: lycoris-ext train runs without accelerate",
    ),
    (
        _has("peft_type", "base_model_name_or_path"),
        "is the adapter_config.json of a PEFT adapter, it is no training config",
        "lycoris-ext config ADAPTER writes a config that trains such an adapter",
    ),
    (
        _has("_class_name", "_diffusers_version"),
        "describes a model of diffusers, it is no training config",
        "name the model's folder in your config: pretrained_model_name_or_path",
    ),
    (
        _has("nodes", "links"),
        "is a workflow of ComfyUI, it is no training config",
        "open it in ComfyUI",
    ),
    (
        _has("resume_ckpt", "data_root"),
        "is a config of EveryDream 2, which trains the whole model",
        f'{_BY_HAND}; algo = "full" trains all weights of the layers',
    ),
)
"""Whether a document is of this kind; what it is; what to do."""


def _recognises(document: Document) -> bool:
    return any(is_one(document) for is_one, _, _ in _ROWS)


def _read(document: Document, where: str) -> Foreign:
    """Raise ConfigError with the sentence for this kind of file."""
    what, fix = next((what, fix) for is_one, what, fix in _ROWS if is_one(document))
    raise ConfigError(f"this file {what}", where=where, fix=fix)


FORMAT = Format("another program", _recognises, _read)
"""Raises an error for each file that it recognises, so it is not one of ``FORMATS``."""
