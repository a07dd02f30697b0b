"""The configs of each family's U-Net, text encoders and VAE, and building models from them.

A base model in a single file has no configs, so the folder `configs/ID/` holds those of the family
with this id, as diffusers and transformers write them.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from lycoris_ext.errors import ConfigError
from lycoris_ext.formats.families import FAMILIES, Family
from lycoris_ext.models.build import build_part
from lycoris_ext.models.quiet import quiet_loading

CONFIGS = Path(__file__).resolve().parent / "configs"
#: The families whose base models can be loaded: those that have configs.
LOADED = {id: family for id, family in FAMILIES.items() if (CONFIGS / id).is_dir()}


def config_folder(family: Family, part: str) -> Path:
    """Return the folder with the config of a part, such as "unet" or "text_encoder_2"."""
    return CONFIGS / family.id / part


def build_meta(family: str) -> dict[str, nn.Module]:
    """Build a family's U-Net and text encoders on the meta device: with shapes, without weights.

    Useful to learn which layers a model has without its file.

    Args:
        family: a key of `LOADED`.

    Returns:
        {"unet": UNet2DConditionModel, "text_encoder": CLIPTextModel} and, for SDXL,
        "text_encoder_2": CLIPTextModelWithProjection; frozen, in eval mode.

    Raises:
        ConfigError: the family is not known.
    """
    if family not in LOADED:
        raise ConfigError(
            f"no base family is called {family!r}",
            where="family",
            fix=f"use one of: {', '.join(LOADED)}",
        )
    known = LOADED[family]
    with quiet_loading():
        from diffusers import UNet2DConditionModel

        from lycoris_ext.models.text_encoder import build_text_encoder

        with torch.device("meta"):
            unet = build_part(UNet2DConditionModel, config_folder(known, "unet"))
            parts: dict[str, nn.Module] = {"unet": unet}
            for name in known.text_targets:
                parts[name] = build_text_encoder(config_folder(known, name))
    return {name: part.requires_grad_(False).eval() for name, part in parts.items()}
