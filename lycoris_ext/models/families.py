"""The families of base models that are known here, as data.

`configs/NAME/` holds what a single file lacks: the full configs of a model's parts, as diffusers
and transformers write them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lycoris_ext.errors import ConfigError
from lycoris_ext.models.quiet import quiet_loading

CONFIGS = Path(__file__).resolve().parent / "configs"


@dataclass(frozen=True)
class Family:
    """What differs between families, as far as code must know it.

    Args:
        name: as in `--family`.
        title: in words.
        text_encoders: their folders in the diffusers layout, and the adapters' targets.
        text_prefixes: how the keys of each begin in a single file.
    """

    name: str
    title: str
    text_encoders: tuple[str, ...]
    text_prefixes: tuple[str, ...]

    @property
    def has_sizes(self) -> bool:
        """Whether the U-Net is told the pictures' sizes and a summary of the text."""
        return len(self.text_encoders) > 1

    @property
    def folder(self) -> Path:
        """Configs of all parts, in the diffusers layout."""
        return CONFIGS / self.name


FAMILIES = {
    family.name: family
    for family in (
        Family(
            "sd1",
            "Stable Diffusion 1.x",
            ("text_encoder",),
            ("cond_stage_model.transformer.",),
        ),
        Family(
            "sd2",
            "Stable Diffusion 2.x",
            ("text_encoder",),
            ("cond_stage_model.model.",),
        ),
        Family(
            "sdxl",
            "Stable Diffusion XL",
            ("text_encoder", "text_encoder_2"),
            ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."),
        ),
    )
}


def build_meta(family: str) -> dict[str, nn.Module]:
    """Build a family's U-Net and text encoders on the meta device: shapes and no weights.

    Args:
        family: a key of `FAMILIES`.

    Returns:
        {"unet": UNet2DConditionModel, "text_encoder": CLIPTextModel} and, for SDXL,
        "text_encoder_2": CLIPTextModelWithProjection; frozen, in eval mode.

    Raises:
        ConfigError: the family is not known.
    """
    if family not in FAMILIES:
        raise ConfigError(
            f"no base family is called {family!r}",
            where="family",
            fix=f"use one of: {', '.join(FAMILIES)}",
        )
    known = FAMILIES[family]
    with quiet_loading():
        from diffusers import UNet2DConditionModel

        from lycoris_ext.models.text_encoder import build_text_encoder

        config = UNet2DConditionModel.load_config(str(known.folder / "unet"), local_files_only=True)
        with torch.device("meta"):
            parts: dict[str, nn.Module] = {"unet": UNet2DConditionModel.from_config(config)}
            for name in known.text_encoders:
                parts[name] = build_text_encoder(known.folder / name)
    return {name: part.requires_grad_(False).eval() for name, part in parts.items()}
