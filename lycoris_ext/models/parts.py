"""The parts of a base model, as the readers of folders and of single files return them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lycoris_ext.formats.families import Family


@dataclass(frozen=True)
class Parts:
    """The parts of a base model, on the CPU.

    Args:
        family: the model's family.
        unet: a UNet2DConditionModel.
        vae: an AutoencoderKL; None if the model's own was not read and `with_vae` is still to set
            another one.
        text_encoders, tokenizers: one of each, for SDXL two of each.
        schedule_config: the content of scheduler_config.json; without `prediction_type` if the
            model does not say what it predicts.
        weight_files: the files that the weights come from, in a fixed order.
    """

    family: Family
    unet: Any
    vae: Any
    text_encoders: tuple[Any, ...]
    tokenizers: tuple[Any, ...]
    schedule_config: Mapping[str, Any]
    weight_files: tuple[Path, ...]

    def with_vae(self, vae: Any, *files: Path) -> Parts:
        """Return these parts with another autoencoder, and the files of its weights added."""
        return replace(self, vae=vae, weight_files=(*self.weight_files, *files))


@dataclass(frozen=True)
class Dtypes:
    """The dtypes in which a base model is loaded.

    Args:
        model: of the U-Net and the text encoders.
        vae: of the autoencoder.
    """

    model: torch.dtype
    vae: torch.dtype

    @classmethod
    def of(cls, dtype: torch.dtype) -> Dtypes:
        """Return this dtype for all parts, except that float16 leaves the autoencoder in float32.

        Several popular autoencoders overflow in float16.
        """
        return cls(dtype, torch.float32 if dtype == torch.float16 else dtype)
