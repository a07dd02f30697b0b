"""Building CLIP's text encoders from their configs, and filling them from files of any naming."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lycoris_ext.errors import DataError
from lycoris_ext.models.build import read_json
from lycoris_ext.models.faults import library_errors
from lycoris_ext.models.fill import fill

_OPEN_CLIP = (
    (r"^positional_embedding$", "embeddings.position_embedding.weight"),
    (r"^token_embedding\.", "embeddings.token_embedding."),
    (r"^ln_final\.", "final_layer_norm."),
    (r"^transformer\.resblocks\.", "encoder.layers."),
    (r"\.ln_(\d)\.", r".layer_norm\1."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
)
"""(pattern in OpenCLIP's names of weights, replacement that gives transformers' names)."""


def build_text_encoder(folder: Path) -> Any:
    """Build a CLIPTextModel, or a CLIPTextModelWithProjection if its config names that.

    Args:
        folder: holds config.json.

    Returns:
        The model, whose weights are random until `fill` sets them.

    Raises:
        DataError: the config cannot be read, describes no text encoder, or names code that is to
            be downloaded and run.
    """
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    path = folder / "config.json"
    stored = read_json(path)
    _refuse_foreign_code(stored, path)
    projects = stored.get("architectures") == ["CLIPTextModelWithProjection"]
    with library_errors(path):
        config = CLIPTextConfig.from_pretrained(str(folder), local_files_only=True)
        return (CLIPTextModelWithProjection if projects else CLIPTextModel)(config)


def _refuse_foreign_code(config: object, where: Path) -> None:
    """Refuse an implementation of attention that is named as a repository (CVE-2026-4372).

    transformers 4.56 to 5.2 would download it and run its code.
    """
    if isinstance(config, list):
        config = dict(enumerate(config))
    if not isinstance(config, dict):
        return
    for key, value in config.items():
        if (
            "attn_implementation" in str(key)
            and isinstance(value, str)
            and not value.isidentifier()
        ):
            raise DataError(
                f"{key} names code on the internet: {value!r}",
                where=str(where),
                fix=f"remove {key} from this file, and trust nothing else in this folder",
            )
        _refuse_foreign_code(value, where)


def read_text_encoder(
    folder: Path, stored: Mapping[str, Tensor], where: Path, dtype: torch.dtype
) -> Any:
    """Build a text encoder and fill it with stored weights.

    transformers 5 dropped the `text_model.` level from the names in CLIPTextModel and its files.
    Names are compared without it, so that every version reads the files of all others.

    Args:
        folder: holds config.json.
        stored: name -> weight, under transformers' names.
        where: the weights' file, for messages.
        dtype: of the model.

    Returns:
        The model on the CPU.

    Raises:
        DataError: as `build_text_encoder`; or weights are missing or of another shape.
    """
    from accelerate import init_empty_weights

    with init_empty_weights():
        encoder = build_text_encoder(folder)
    bare = {_bare(key): tensor for key, tensor in stored.items()}
    named = {key: bare[_bare(key)] for key in encoder.state_dict() if _bare(key) in bare}
    fill(encoder, named, where, dtype)
    return encoder


def from_open_clip(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename weights of OpenCLIP's text encoder to transformers' names.

    OpenCLIP keeps queries, keys and values of an attention in one matrix, which is split in three.

    Args:
        stored: OpenCLIP's name, such as `transformer.resblocks.0.ln_1.weight` -> weight.

    Returns:
        transformers' name -> weight.
    """
    renamed: dict[str, Tensor] = {}
    for key, tensor in stored.items():
        if key == "text_projection":
            renamed["text_projection.weight"] = tensor.T.contiguous()
            continue
        name = key
        for pattern, replacement in _OPEN_CLIP:
            name = re.sub(pattern, replacement, name)
        block, joint, kind = name.partition(".attn.in_proj_")
        if joint:
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                renamed[f"{block}.self_attn.{part}_proj.{kind}"] = rows.contiguous()
        else:
            renamed[name] = tensor
    return renamed


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose keys begin with a prefix, with the prefix removed."""
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}


def _bare(key: str) -> str:
    return key.removeprefix("text_model.")
