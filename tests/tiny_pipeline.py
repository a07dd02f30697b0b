"""Writes a tiny model of random weights in the diffusers layout, for each family."""

from __future__ import annotations

import json
import shutil
import string
from pathlib import Path
from typing import Any

import torch

from lycoris_ext.formats import save_adapter
from lycoris_ext.models import ModelConfig, Pipeline, load_pipeline
from lycoris_ext.models.part_configs import LOADED, config_folder
from lycoris_ext.models.quiet import quiet_loading
from lycoris_ext.models.tokenizer import clip_tokenizer
from lycoris_ext.network import NetworkConfig, build_network

MAX_TOKENS = 24
PICTURE_SIZE = 32
LATENT_FACTOR = 4

_UNET: dict[str, Any] = {
    "sample_size": PICTURE_SIZE // LATENT_FACTOR,
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 32,
    "attention_head_dim": 2,
    "norm_num_groups": 8,
}
_UNETS: dict[str, dict[str, Any]] = {
    "sd1": _UNET,
    "sd2": {**_UNET, "attention_head_dim": (1, 2), "use_linear_projection": True},
    "sdxl": {
        **_UNET,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 32 + 48,
        "attention_head_dim": (1, 2),
        "use_linear_projection": True,
        "transformer_layers_per_block": (1, 2),
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + 24,
    },
}
_OPENAI: dict[str, Any] = {"hidden_size": 32, "hidden_act": "quick_gelu", "projection_dim": 32}
_OPENCLIP: dict[str, Any] = {**_OPENAI, "hidden_act": "gelu"}
_TEXTS: dict[str, list[dict[str, Any]]] = {
    "sd1": [_OPENAI],
    "sd2": [_OPENCLIP],
    "sdxl": [_OPENAI, {**_OPENCLIP, "hidden_size": 48, "projection_dim": 24}],
}
_SCALING = {"sd1": 0.18215, "sd2": 0.18215, "sdxl": 0.13025}


def write_tiny_folder(
    folder: Path, seed: int = 0, family: str = "sd1", *, clip_words: bool = False
) -> Path:
    """Write a whole model (about 1 MB) to `folder` and return it; the same seed, the same model.

    Args:
        folder: need not exist.
        seed: of the weights.
        family: a key of `LOADED`.
        clip_words: with CLIP's own vocabulary of 49,408 tokens, as single files are read with, in
            place of some characters and words.
    """
    with quiet_loading():
        for name, module in tiny_modules(folder, seed, family, clip_words).items():
            module.save_pretrained(folder / name, safe_serialization=True)
    shutil.copy(config_folder(LOADED[family], "model_index.json"), folder)
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
            "prediction_type": "epsilon",
        },
    )
    return folder


def tiny_modules(folder: Path, seed: int, family: str, clip_words: bool) -> dict[str, Any]:
    """Build U-Net, autoencoder and text encoders, and write the tokenizers to `folder`."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    modules: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, options in zip(LOADED[family].text_targets, _TEXTS[family], strict=True):
            padding = 49407 if options["hidden_act"] == "quick_gelu" else 0
            place = folder / name.replace("text_encoder", "tokenizer")
            if clip_words:
                clip_tokenizer(padding).save_pretrained(place)
                size, tokens = 49408, 77
            else:
                size, tokens = len(write_tokenizer(place)), MAX_TOKENS
            config = CLIPTextConfig(
                vocab_size=size,
                intermediate_size=64,
                num_hidden_layers=3,
                num_attention_heads=2,
                max_position_embeddings=tokens,
                bos_token_id=size - 2,
                eos_token_id=size - 1,
                pad_token_id=padding if clip_words else size - 1,
                **options,
            )
            second = name == "text_encoder_2"
            modules[name] = (CLIPTextModelWithProjection if second else CLIPTextModel)(config)
        modules["unet"] = UNet2DConditionModel(**_UNETS[family])
        modules["vae"] = AutoencoderKL(
            block_out_channels=(8, 16, 16),
            layers_per_block=1,
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=PICTURE_SIZE,
            scaling_factor=_SCALING[family],
        )
    return modules


def tiny_pipeline(folder: Path, seed: int = 0, clip_skip: int = 1, family: str = "sd1") -> Pipeline:
    """Write the model to `folder` and load it on the CPU in float32."""
    write_tiny_folder(folder, seed, family)
    config = ModelConfig(pretrained_model_name_or_path=str(folder), clip_skip=clip_skip)
    return load_pipeline(config, "cpu", torch.float32)


def loud_adapter(pipeline: Pipeline, path: Path, seed: int = 0) -> Path:
    """Write a LoRA for a pipeline, of random weights large enough to change every picture."""
    network = build_network(pipeline.targets(), NetworkConfig(algo="lora", network_dim=4))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=generator))
    save_adapter(path, network.adapter_state({}))
    return path


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
