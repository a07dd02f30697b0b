"""A Stable Diffusion model of random weights in the diffusers layout, small enough for a test."""

from __future__ import annotations

import json
import string
from pathlib import Path

import torch

from lycoris_ext.models import ModelConfig, Pipeline, load_pipeline
from lycoris_ext.models.quiet import quiet_loading

MAX_TOKENS = 24
PICTURE_SIZE = 32
LATENT_FACTOR = 4


def write_tiny_folder(folder: Path, seed: int = 0) -> Path:
    """Write a whole model (about 1 MB) to `folder` and return it; the same seed, the same model."""
    with quiet_loading():
        _write_tiny_folder(folder, seed)
    return folder


def _write_tiny_folder(folder: Path, seed: int) -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    vocabulary = write_tokenizer(folder / "tokenizer")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(vocabulary),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=3,
                num_attention_heads=2,
                max_position_embeddings=MAX_TOKENS,
                projection_dim=32,
                bos_token_id=len(vocabulary) - 2,
                eos_token_id=len(vocabulary) - 1,
                pad_token_id=len(vocabulary) - 1,
            )
        )
        unet = UNet2DConditionModel(
            sample_size=PICTURE_SIZE // LATENT_FACTOR,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=2,
            norm_num_groups=8,
        )
        vae = AutoencoderKL(
            block_out_channels=(8, 16, 16),
            layers_per_block=1,
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=PICTURE_SIZE,
        )
    encoder.save_pretrained(folder / "text_encoder", safe_serialization=True)
    unet.save_pretrained(folder / "unet", safe_serialization=True)
    vae.save_pretrained(folder / "vae", safe_serialization=True)
    _write_json(
        folder / "scheduler" / "scheduler_config.json",
        {
            "_class_name": "PNDMScheduler",
            "num_train_timesteps": 1000,
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "skip_prk_steps": True,
            "set_alpha_to_one": False,
            "steps_offset": 1,
            "clip_sample": False,
        },
    )


def tiny_pipeline(folder: Path, seed: int = 0, clip_skip: int = 1) -> Pipeline:
    """Write the model to `folder` and load it on the CPU in float32."""
    write_tiny_folder(folder, seed)
    config = ModelConfig(pretrained_model_name_or_path=str(folder), clip_skip=clip_skip)
    return load_pipeline(config, "cpu", torch.float32)


def write_tokenizer(folder: Path) -> dict[str, int]:
    """Write a CLIP tokenizer of single characters and a few words; return its vocabulary."""
    words = ["cat", "dog", "red", "by"]
    merges: list[str] = []
    pieces = [character for character in string.printable if not character.isspace()]
    entries = pieces + [f"{piece}</w>" for piece in pieces]
    for word in words:
        left = word[0]
        for index, letter in enumerate(word[1:], start=1):
            right = letter + ("</w>" if index == len(word) - 1 else "")
            if f"{left} {right}" not in merges:
                merges.append(f"{left} {right}")
                entries.append(left + right)
            left += right
    entries += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {entry: index for index, entry in enumerate(entries)}
    _write_json(folder / "vocab.json", vocabulary)
    (folder / "merges.txt").write_text(
        "\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8"
    )
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "CLIPTokenizer",
            "bos_token": "<|startoftext|>",
            "eos_token": "<|endoftext|>",
            "unk_token": "<|endoftext|>",
            "pad_token": "<|endoftext|>",
            "model_max_length": MAX_TOKENS,
            "do_lower_case": True,
        },
    )
    return vocabulary


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
