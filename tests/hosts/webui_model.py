"""A tiny Stable Diffusion for both webuis: SD1's layer names, a hundredth of its numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from lycoris_ext.formats.families import FAMILIES
from lycoris_ext.models.tokenizer import write_clip_tokenizer
from tests.hosts.base_model import cache_folder
from tests.single_files import single_file

CHANNELS = 32
LEVELS = (1, 2, 4, 4)
TEXT_WIDTH = 64

CONFIG = """\
model:
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    linear_start: 0.00085
    linear_end: 0.0120
    timesteps: 1000
    first_stage_key: jpg
    cond_stage_key: txt
    image_size: 64
    channels: 4
    cond_stage_trainable: false
    conditioning_key: crossattn
    scale_factor: 0.18215
    use_ema: false
    unet_config:
      target: ldm.modules.diffusionmodules.openaimodel.UNetModel
      params:
        image_size: 32
        in_channels: 4
        out_channels: 4
        model_channels: {channels}
        attention_resolutions: [4, 2, 1]
        num_res_blocks: 2
        channel_mult: {levels}
        num_heads: 8
        use_spatial_transformer: true
        transformer_depth: 1
        context_dim: {text_width}
        use_checkpoint: true
        legacy: false
    first_stage_config:
      target: ldm.models.autoencoder.AutoencoderKL
      params:
        embed_dim: 4
        monitor: val/rec_loss
        ddconfig:
          double_z: true
          z_channels: 4
          resolution: 256
          in_channels: 3
          out_ch: 3
          ch: {channels}
          ch_mult: {levels}
          num_res_blocks: 2
          attn_resolutions: []
          dropout: 0.0
        lossconfig:
          target: torch.nn.Identity
    cond_stage_config:
      target: ldm.modules.encoders.modules.FrozenCLIPEmbedder
      params:
        version: {clip}
"""


def tiny_modules(seed: int) -> dict[str, Any]:
    """SD1's U-Net, autoencoder and text encoder with few channels, in float32."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    widths = tuple(CHANNELS * level for level in LEVELS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=widths,
            cross_attention_dim=TEXT_WIDTH,
            attention_head_dim=8,
        )
        vae = AutoencoderKL(
            block_out_channels=widths,
            layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
        )
        text = CLIPTextModel(text_config(CLIPTextConfig))
        # A layer norm that begins at zero has a mean of zero, by which the host divides where a
        # prompt holds an emphasis.
        text.final_layer_norm.bias.data.normal_(std=0.5)
    return {"unet": unet, "vae": vae, "text_encoder": text}


def text_config(kind: Any, **more: Any) -> Any:
    """A text encoder's config of a class of transformers; `more` is in place of tiny widths."""
    usual = {
        "vocab_size": 49408,
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 4 * TEXT_WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "projection_dim": TEXT_WIDTH,
        "bos_token_id": 49406,
        "eos_token_id": 49407,
        "pad_token_id": 49407,
    }
    return kind(**(usual | more))


def write_tiny_checkpoint(path: Path, seed: int = 0) -> Path:
    """Write a checkpoint of AUTOMATIC1111's and what it needs beside it.

    Args:
        path: NAME.safetensors; NAME.yaml and the folder `clip` come to lie beside it.
        seed: of the weights.
    """
    from transformers import CLIPTextConfig

    path.parent.mkdir(parents=True, exist_ok=True)
    modules = tiny_modules(seed)
    encoders = [modules["text_encoder"]]
    weights = single_file(FAMILIES["sd1"], modules["unet"], modules["vae"], encoders)
    safetensors.torch.save_file({k: v.contiguous() for k, v in weights.items()}, path)
    clip = path.parent / "clip"
    clip.mkdir(exist_ok=True)
    write_clip_tokenizer(clip)
    config = {**text_config(CLIPTextConfig).to_dict(), "model_type": "clip_text_model"}
    (clip / "config.json").write_text(json.dumps(config), encoding="utf-8")
    text = CONFIG.format(
        channels=CHANNELS, levels=list(LEVELS), text_width=TEXT_WIDTH, clip=json.dumps(str(clip))
    )
    path.with_suffix(".yaml").write_text(text, encoding="utf-8")
    return path


def tiny_checkpoints() -> Path:
    """Folder of two checkpoints, tiny-a and tiny-b, made if it is not there."""
    folder = cache_folder() / "webui-tiny-1"
    for seed, name in enumerate(("tiny-a", "tiny-b")):
        if not (folder / f"{name}.yaml").is_file():
            write_tiny_checkpoint(folder / f"{name}.safetensors", seed)
    return folder


def write_forge_configs(folder: Path, checkout: Path) -> None:
    """Write Forge's own folder of SD1's configs with the tiny model's widths in them.

    inside/forge_narrow, an extension, has Forge take its configs from there.

    Args:
        folder: that does not exist yet.
        checkout: of Forge.
    """
    theirs = checkout / "backend" / "huggingface" / "runwayml" / "stable-diffusion-v1-5"
    shutil.copytree(theirs, folder)
    for name, module in tiny_modules(0).items():
        path = folder / name / "config.json"
        config = json.loads(path.read_text("utf-8"))
        tiny = module.config.to_dict() if name == "text_encoder" else dict(module.config)
        ours = {key: tiny[key] for key in config if key in tiny and key[0] != "_"}
        path.write_text(json.dumps(config | ours), encoding="utf-8")
