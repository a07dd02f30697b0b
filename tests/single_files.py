"""Base models in one file, under the names of their original repositories."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from lycoris_ext.formats.families import Family
from lycoris_ext.models.part_configs import LOADED, build_meta, config_folder

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
_VAE = (
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
    (r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1"),
    (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
    (r"down_blocks\.(\d)\.resnets", r"down.\1.block"),
    (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
    (r"conv_norm_out", "norm_out"),
    (r"conv_shortcut", "nin_shortcut"),
)
_OPEN_CLIP = (
    ("embeddings.position_embedding.weight", "positional_embedding"),
    ("embeddings.token_embedding", "token_embedding"),
    ("final_layer_norm", "ln_final"),
    ("encoder.layers.", "transformer.resblocks."),
    ("layer_norm", "ln_"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
    ("self_attn.out_proj", "attn.out_proj"),
)


def single_file(family: Family, unet: Any, vae: Any, text_encoders: list[Any]) -> dict[str, Tensor]:
    """Return all weights of a model as its original repository stores them."""
    stored = {f"model.diffusion_model.{key}": value for key, value in ldm_unet(unet).items()}
    stored |= {f"first_stage_model.{key}": value for key, value in ldm_vae(vae).items()}
    for row, encoder in zip(family.text_encoders, text_encoders, strict=True):
        state = encoder.state_dict()
        named = open_clip(state) if row.open_clip else clip(state)
        stored |= {row.in_checkpoint + key: value for key, value in named.items()}
    if family.id == "sd2":
        # The file has one layer more than is ever read.
        last = _last_layer(stored)
        stored |= {
            key.replace(f".{last}.", f".{last + 1}."): value
            for key, value in stored.items()
            if f"resblocks.{last}." in key
        }
    return stored


def ldm_unet(unet: Any) -> dict[str, Tensor]:
    """Return a U-Net's weights under the names of the latent-diffusion repository."""
    layers = unet.config.layers_per_block
    with_attention = [i for i, kind in enumerate(unet.config.up_block_types) if "CrossAttn" in kind]

    def block(match: re.Match[str]) -> str:
        side, index, kind, layer = match[1], int(match[2]), match[3], int(match[4])
        if side == "down":
            if kind == "downsamplers":
                return f"input_blocks.{(index + 1) * (layers + 1)}.0.op"
            return f"input_blocks.{1 + index * (layers + 1) + layer}.{int(kind == 'attentions')}"
        if kind == "upsamplers":
            return f"output_blocks.{index * (layers + 1) + layers}.{1 + (index in with_attention)}"
        return f"output_blocks.{index * (layers + 1) + layer}.{int(kind == 'attentions')}"

    renamed = {}
    for key, value in unet.state_dict().items():
        name = re.sub(r"^(down|up)_blocks\.(\d)\.(\w+)\.(\d)", block, key)
        name = name.replace(".op.conv.", ".op.")
        for ours, theirs in _UNET_ENDS.items():
            name = re.sub(rf"^{re.escape(ours)}\.", f"{theirs}.", name)
        if ".resnets." in key:
            for ours, theirs in _RESNET.items():
                name = name.replace(f".{ours}.", f".{theirs}.")
        renamed[name] = value
    return renamed


def ldm_vae(vae: Any) -> dict[str, Tensor]:
    """Return an autoencoder's weights under the names of the latent-diffusion repository."""
    last = len(vae.config.block_out_channels) - 1
    renamed = {}
    for key, value in vae.state_dict().items():
        name = re.sub(
            r"up_blocks\.(\d)\.(resnets|upsamplers\.0)",
            lambda m: f"up.{last - int(m[1])}.{'block' if m[2] == 'resnets' else 'upsample'}",
            key,
        )
        for pattern, replacement in _VAE:
            name = re.sub(pattern, replacement, name)
        if ".attn_1." in name and name.endswith("weight") and ".norm." not in name:
            value = value[:, :, None, None]
        renamed[name] = value
    return renamed


def clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of OpenAI's encoder under transformers' names of before version 5."""
    return {f"text_model.{key.removeprefix('text_model.')}": value for key, value in state.items()}


def open_clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of OpenCLIP's encoder, with one matrix for queries, keys and values."""
    bare = {key.removeprefix("text_model."): value for key, value in state.items()}
    joined: dict[str, Tensor] = {}
    for key, value in bare.items():
        match = re.fullmatch(r"(.+\.)self_attn\.([qkv])_proj\.(\w+)", key)
        if match:
            if match[2] == "q":
                parts = [bare[key.replace("q_proj", f"{part}_proj")] for part in "qkv"]
                joined[f"{match[1]}attn.in_proj_{match[3]}"] = torch.cat(parts)
        elif key == "text_projection.weight":
            joined["text_projection"] = value.T.contiguous()
        else:
            joined[key] = value
    named = {}
    for key, value in joined.items():
        for ours, theirs in _OPEN_CLIP:
            key = key.replace(ours, theirs)
        named[key] = value
    return named


def _last_layer(stored: Mapping[str, Tensor]) -> int:
    return max(int(m[1]) for key in stored if (m := re.search(r"resblocks\.(\d+)\.", key)))


def write_random_model(path: Path, name: str, seed: int = 0) -> Path:
    """Write a model of a family's real size as one .safetensors file of float16 random weights.

    Args:
        path: the file.
        name: a key of `LOADED`; sd1 is 2.1 GB, sdxl 6.9 GB.
        seed: of the numbers, which repeat themselves after some millions.
    """
    from diffusers import AutoencoderKL

    family = LOADED[name]
    targets = build_meta(name)
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(config_folder(family, "vae")))
    numbers = torch.randn(1 << 23, generator=torch.Generator().manual_seed(seed))
    for module in (vae, *targets.values()):
        fill_randomly(module, numbers)
    encoders = [targets[encoder] for encoder in family.text_targets]
    safetensors.torch.save_file(
        {k: v.contiguous() for k, v in single_file(family, targets["unet"], vae, encoders).items()},
        path,
    )
    return path


def fill_randomly(module: Any, numbers: Tensor) -> None:
    """Give a module of the meta device weights under which activations neither grow nor vanish."""
    weights: dict[str, Tensor] = {}
    start = 0
    for key, value in module.state_dict().items():
        if key.endswith("bias"):
            weights[key] = torch.zeros(value.shape, dtype=torch.float16)
        elif value.ndim == 1:
            weights[key] = torch.ones(value.shape, dtype=torch.float16)
        else:
            count = value.numel()
            start = (start + 1009) % 65536
            repeats = -(-(start + count) // numbers.numel())
            drawn = numbers.repeat(repeats)[start : start + count].view(value.shape)
            spread = 0.02 if "embedding" in key else 0.7 / value[0].numel() ** 0.5
            weights[key] = (drawn * spread).half()
    module.load_state_dict(weights, assign=True, strict=False)
