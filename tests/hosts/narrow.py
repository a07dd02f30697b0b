"""A base model with SD1's layers and few channels, for what does not depend on the size.

inside/sd_scripts_narrow.py makes sd-scripts' own classes as narrow. It is made once, in a second.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from lycoris_ext.models.part_configs import LOADED, config_folder
from tests.hosts.base_model import cache_folder
from tests.hosts.inside.sd_scripts_narrow import CHANNELS, TEXT
from tests.single_files import single_file


def narrow_model() -> Path:
    """Return the model as one .safetensors file, made if it is not there."""
    digest = hashlib.sha256(Path(__file__).read_bytes().replace(b"\r\n", b"\n")).hexdigest()[:8]
    path = cache_folder() / f"sd1-narrow-{digest}.safetensors"
    if not path.is_file():
        unfinished = path.with_suffix(f".{os.getpid()}.tmp")
        safetensors.torch.save_file(in_one_file(narrow_parts()), unfinished)
        os.replace(unfinished, path)
    return path


def in_one_file(parts: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the weights of ``narrow_parts`` under the names of the original repository."""
    weights = single_file(LOADED["sd1"], parts["unet"], parts["vae"], [parts["text_encoder"]])
    return {key: tensor.contiguous() for key, tensor in weights.items()}


def narrow_parts() -> dict[str, Any]:
    """Build the model as diffusers has it: "unet", "vae" and "text_encoder", always the same."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    family = LOADED["sd1"]
    widths = [CHANNELS, 2 * CHANNELS, 4 * CHANNELS, 4 * CHANNELS]
    unet = UNet2DConditionModel.load_config(config_folder(family, "unet"))
    vae = AutoencoderKL.load_config(config_folder(family, "vae"))
    text = CLIPTextConfig.from_pretrained(
        config_folder(family, "text_encoder"),
        hidden_size=TEXT,
        intermediate_size=2 * TEXT,
        num_attention_heads=4,
        projection_dim=TEXT,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = {
            "unet": UNet2DConditionModel.from_config(
                {**unet, "block_out_channels": widths, "cross_attention_dim": TEXT}
            ),
            "vae": AutoencoderKL.from_config({**vae, "block_out_channels": widths}),
            "text_encoder": CLIPTextModel(text),
        }
        # A layer norm that begins at zero has a mean of zero, by which gen_img.py divides.
        torch.nn.init.normal_(parts["text_encoder"].final_layer_norm.bias, std=0.5)
    return {name: part.requires_grad_(False).eval() for name, part in parts.items()}
