"""The parts of a base model, wherever they were read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lycoris_ext.formats.families import Family


@dataclass(frozen=True)
class Parts:
    """What was read, on the CPU.

    Args:
        family: which kind of model it is.
        unet: its U-Net.
        vae: its autoencoder, or another one; None until `with_vae` where its own was not wanted.
        text_encoders, tokenizers: one each, or two each for SDXL.
        schedule_config: scheduler_config.json; its `prediction_type` is what the model itself says,
            absent where it says nothing.
        weight_files: where the weights are from, in a fixed order.
    """

    family: Family
    unet: Any
    vae: Any
    text_encoders: tuple[Any, ...]
    tokenizers: tuple[Any, ...]
    schedule_config: Mapping[str, Any]
    weight_files: tuple[Path, ...]

    def with_vae(self, vae: Any, file: Path) -> Parts:
        """The same with this autoencoder and the file of its weights."""
        return replace(self, vae=vae, weight_files=(*self.weight_files, file))


@dataclass(frozen=True)
class Dtypes:
    """Of the U-Net and the text encoders, and of the autoencoder."""

    model: torch.dtype
    vae: torch.dtype

    @classmethod
    def of(cls, dtype: torch.dtype) -> Dtypes:
        """The autoencoder stays in float32 for float16: several popular ones overflow there."""
        return cls(dtype, torch.float32 if dtype == torch.float16 else dtype)
