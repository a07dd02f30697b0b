"""Write the base model as a diffusers folder in half precision, and the shipped training sets."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from lycoris_ext.mini.building.denoiser import Denoiser, build_scheduler
from lycoris_ext.mini.drawings.pictures import Picture

LARGEST_BASE = 32 * 2**20
"""Most bytes of U-Net, VAE and text encoder together, since every git clone contains them."""


def _replace_folder(new: Path, target: Path) -> None:
    """Replace the folder `target` by the finished folder `new`."""
    old = target.with_name(target.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(new, target)
    shutil.rmtree(old, ignore_errors=True)


def export_base(model: Denoiser, vae: AutoencoderKL, target: Path) -> int:
    """Save a folder that StableDiffusionPipeline.from_pretrained can load.

    Returns:
        The size of the three models' weights in bytes.

    Raises:
        ValueError: the weights are larger than LARGEST_BASE.
    """
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=model.text_encoder,
        tokenizer=model.tokenizer,
        unet=model.unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    new = target.with_name(target.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    pipeline.to(torch.float16).save_pretrained(str(new), safe_serialization=True)
    pipeline.to(torch.float32)
    for configuration in new.glob("*/config.json"):
        _clean_configuration(configuration)
    _write_for_older_libraries(new)
    size = sum(file.stat().st_size for file in new.rglob("*.safetensors"))
    if size > LARGEST_BASE:
        raise ValueError(
            f"the base has {size} bytes of weights, at most {LARGEST_BASE} are allowed"
        )
    _replace_folder(new, target)
    return size


def _clean_configuration(configuration: Path) -> None:
    """Remove the original folder's name from a config.json; a dtype in it becomes float32.

    Without a dtype argument, diffusers loads float32, but transformers loads the dtype named in
    config.json. If they differed, the pipeline would not run.
    """
    values = json.loads(configuration.read_text(encoding="utf-8"))
    values.pop("_name_or_path", None)
    if "dtype" in values:
        values["dtype"] = "float32"
    configuration.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _write_for_older_libraries(folder: Path) -> None:
    """Make a saved folder readable by transformers 4, and still by transformers 5.

    transformers 4 needs the prefix `text_model.` in the text encoder's weight names, and the
    tokenizer's vocab.json and merges.txt, which transformers 5 no longer writes.
    """
    weights = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(str(weights))
    level = "text_model."
    renamed = {level + name.removeprefix(level): tensor for name, tensor in tensors.items()}
    save_file(renamed, str(weights), {"format": "pt"})
    parts = json.loads((folder / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))[
        "model"
    ]
    vocabulary = json.dumps(parts["vocab"], ensure_ascii=False)
    (folder / "tokenizer" / "vocab.json").write_text(vocabulary, encoding="utf-8")
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in parts["merges"]]
    lines = "\n".join(["#version: 0.2", *merges]) + "\n"
    (folder / "tokenizer" / "merges.txt").write_text(lines, encoding="utf-8")


def export_training_set(pictures: Iterable[Picture], target: Path) -> int:
    """Write pictures and captions into a folder, replacing the folder.

    Args:
        pictures: the pictures with their captions.
        target: the folder, named REPEATS_name as in kohya's layout.

    Returns:
        The number of pictures.
    """
    new = target.with_name(target.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    count = 0
    for picture in pictures:
        name = f"{count:02d}-{picture.subject.replace(' ', '-')}"
        picture.image.save(new / f"{name}.png", optimize=True)
        (new / f"{name}.txt").write_text(picture.caption + "\n", encoding="utf-8")
        count += 1
    _replace_folder(new, target)
    return count
