"""`lycoris-ext init FOLDER`: examine a folder of pictures and write a commented config for it."""

from __future__ import annotations

import argparse
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from lycoris_ext.cli.new_config import unused_path
from lycoris_ext.config import RECIPES, all_options
from lycoris_ext.data import DataConfig, Finding, examine, finding_lines, raise_if_errors
from lycoris_ext.data.folders import options_for
from lycoris_ext.formats import atomic_write
from lycoris_ext.formats.toml_text import toml_value
from lycoris_ext.models import ModelConfig
from lycoris_ext.training.token_limit import token_limit
from lycoris_ext.words import count

SHOWINGS_PER_PICTURE = 100
"""Training steps per picture: a common rule of thumb, limited by FEWEST_STEPS and MOST_STEPS."""
FEWEST_STEPS, MOST_STEPS = 400, 3000
MINI_RESOLUTION = 64


@dataclass(frozen=True)
class Suggestion:
    """What was found in a folder of pictures, and the settings that follow from it.

    Args:
        data: the data options for this folder.
        pictures: number of pictures.
        folders: number of folders that hold them.
        without_caption: number of pictures without caption.
        median_side: median of sqrt(width * height) of the pictures, in pixels.
        common_tags: the tags with which all captions begin.
        resolution: suggested training resolution in pixels.
        steps: suggested number of training steps.
        findings: what is notable about the data set.
    """

    data: DataConfig
    pictures: int
    folders: int
    without_caption: int
    median_side: int
    common_tags: tuple[str, ...]
    resolution: int
    steps: int
    findings: tuple[Finding, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a config for a folder of pictures; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="lycoris-ext init", description="Write a commented config for a folder of pictures."
    )
    parser.add_argument("folder", type=Path, help="a folder of pictures, or of 10_name folders")
    parser.add_argument("--output", type=Path, help="new config (default: ./FOLDER.toml)")
    parser.add_argument(
        "--base",
        default="mini",
        help="base model: a file, a diffusers folder, or the shipped small one (default: mini)",
    )
    options = parser.parse_args(arguments)
    folder = options.folder.expanduser()
    output = unused_path(options.output, folder.resolve().name or "lora")
    found = look_at(folder, options.base)
    atomic_write(output, write_config(found, options.base, output.stem).encode("utf-8"))
    for line in finding_lines(found.findings):
        print(line)
    print(
        f"{count(found.pictures, 'picture')}, suggestion: {count(found.steps, 'step')} at "
        f"{found.resolution} pixels"
    )
    print(f"written: {output}")
    print(f"train:   lycoris-ext train {output}")
    return 0


def look_at(folder: Path, base: str) -> Suggestion:
    """Read all pictures and captions of a folder and suggest settings for training.

    Args:
        folder: a folder of pictures, or of <repeats>_<name> folders.
        base: the base model, as for --base.

    Raises:
        DataError: the folder does not exist, holds no pictures, or some are damaged.
    """
    data = DataConfig(**options_for(folder), allow_missing_captions=True)
    limit = token_limit(ModelConfig(pretrained_model_name_or_path=base))
    scan = examine(data, token_limit=limit)
    raise_if_errors(scan.findings)
    sizes = [checked.file.size for checked in scan.checked]
    side = int(median(math.sqrt(width * height) for width, height in sizes))
    resolution = MINI_RESOLUTION if base == "mini" else min(512, max(256, side // 64 * 64))
    captions = [picture.caption.split(",") for picture in scan.pictures]
    common: list[str] = []
    if not scan.without_caption:
        for tags in zip(*captions, strict=False):
            if len({tag.strip() for tag in tags}) > 1:
                break
            common.append(tags[0].strip())
    steps = min(MOST_STEPS, max(FEWEST_STEPS, SHOWINGS_PER_PICTURE * len(sizes)))
    return Suggestion(
        data=replace(data, allow_missing_captions=False),
        pictures=len(sizes),
        folders=len({picture.folder for picture in scan.pictures}),
        without_caption=scan.without_caption,
        median_side=side,
        common_tags=tuple(common),
        resolution=resolution,
        steps=steps,
        findings=scan.findings,
    )


def write_config(found: Suggestion, base: str, name: str) -> str:
    """Return the text of a TOML config: the important options, then all others as comments.

    Args:
        found: what was found in the folder.
        base: the base model, as for --base.
        name: the run's name, which is also the config's name without extension.
    """
    data = found.data
    place = "train_data_dir" if data.train_data_dir else "image_dir"
    settings: dict[str, object] = {
        "pretrained_model_name_or_path": base,
        place: getattr(data, place),
        "output_dir": "output",
        "output_name": name,
        "preset": ["seed-default", "full"],
        "resolution": found.resolution,
        "train_batch_size": 1,
        "max_train_steps": found.steps,
        "save_every_n_steps": max(100, found.steps // 4),
        "sample_every_n_steps": max(100, found.steps // 4),
        "shuffle_caption": True,
        "keep_tokens": len(found.common_tags),
        "learning_rate": 2e-4,
        "seed": 0,
    }
    if place == "image_dir":
        settings["num_repeats"] = data.num_repeats
    if data.caption_extension != DataConfig.caption_extension:
        settings["caption_extension"] = data.caption_extension
    lines = _heading(found, name)
    for option, value in settings.items():
        lines += ["", *_comment(_help(option, found)), f"{option} = {toml_value(value)}"]
    lines += ["", "", "# All other options with the values that they have if left out.", ""]
    recipe = RECIPES["seed-default"]
    for option, described in all_options().items():
        if option not in settings and option != "overwrite":
            value = recipe.get(option, described.default)
            text = "" if value in (None, "") else toml_value(value)
            lines += [*_comment(described.help), f"# {option} = {text}".rstrip(), ""]
    return "\n".join(lines)


def _heading(found: Suggestion, name: str) -> list[str]:
    text = (
        f"{count(found.pictures, 'picture')} in {count(found.folders, 'folder')}, about "
        f"{found.median_side} pixels a side."
    )
    if found.without_caption:
        text += (
            f" {count(found.without_caption, 'has', 'have')} no caption: write a .txt file of the "
            "same name for each, or set allow_missing_captions = true."
        )
    return [*_comment(text), f"# Train with: lycoris-ext train {name}.toml"]


def _help(option: str, found: Suggestion) -> str:
    beginning = ", ".join(found.common_tags)
    special = {
        "pretrained_model_name_or_path": "The base model: Stable Diffusion 1.x, 2.x or XL, as a "
        'file or a diffusers folder. "mini" is a small model that ships with the package, for '
        "trying things out.",
        "preset": "The recipe with default values, and the set of layers to adapt.",
        "max_train_steps": f"Number of optimizer steps: {SHOWINGS_PER_PICTURE} per picture, but at "
        f"least {FEWEST_STEPS} and at most {MOST_STEPS}.",
        "keep_tokens": "Number of first tags that are not shuffled."
        + (f" All captions begin with: {beginning}" if beginning else ""),
    }
    return special.get(option) or all_options()[option].help


def _comment(text: str) -> list[str]:
    text = text.replace("``", "")
    return [f"# {line}" for line in textwrap.wrap(text, 96, break_on_hyphens=False)]
