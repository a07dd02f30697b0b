"""The shapes of real base models, as data: enough to build them without their weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lycoris_ext.errors import ConfigError
from lycoris_ext.models.quiet import quiet_loading

_SD15_UNET: dict[str, Any] = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": (
        "CrossAttnDownBlock2D",
        "CrossAttnDownBlock2D",
        "CrossAttnDownBlock2D",
        "DownBlock2D",
    ),
    "up_block_types": (
        "UpBlock2D",
        "CrossAttnUpBlock2D",
        "CrossAttnUpBlock2D",
        "CrossAttnUpBlock2D",
    ),
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "norm_num_groups": 32,
}

_CLIP_L: dict[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "projection_dim": 768,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
}

FAMILIES: dict[str, dict[str, dict[str, Any]]] = {
    "sd15": {"unet": _SD15_UNET, "text_encoder": _CLIP_L},
}


def build_meta(family: str) -> dict[str, nn.Module]:
    """Build a family's U-Net and text encoder on the meta device: shapes and no weights.

    Args:
        family: a key of `FAMILIES`.

    Returns:
        {"unet": UNet2DConditionModel, "text_encoder": CLIPTextModel}, frozen, in eval mode.

    Raises:
        ConfigError: the family is not known.
    """
    if family not in FAMILIES:
        raise ConfigError(
            f"no base family is called {family!r}",
            where="family",
            fix=f"use one of: {', '.join(FAMILIES)}",
        )
    configs = FAMILIES[family]
    with quiet_loading():
        from diffusers import UNet2DConditionModel
        from transformers import CLIPTextConfig, CLIPTextModel
    with torch.device("meta"):
        parts: dict[str, nn.Module] = {
            "unet": UNet2DConditionModel(**configs["unet"]),
            "text_encoder": CLIPTextModel(CLIPTextConfig(**configs["text_encoder"])),
        }
    return {name: part.requires_grad_(False).eval() for name, part in parts.items()}
