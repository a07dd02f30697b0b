"""OneTrainer's concepts (its data set) and samples (pictures that are drawn during training).

Both are lists in the config or in a JSON file of their own that the config names.

Source: https://github.com/Nerogar/OneTrainer at 23df383, ConceptConfig.py, SampleConfig.py and
DataLoaderText2ImageMixin.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from lycoris_ext.config.imports import fixes
from lycoris_ext.config.imports.json_text import read_json
from lycoris_ext.config.imports.prompt_lines import prompt_line
from lycoris_ext.config.imports.settings import (
    NOTHING,
    Rule,
    Settings,
    all_of,
    becomes,
    flag,
    number,
    only,
    text,
    whole,
)

_SAMPLERS = {
    "DDIM": "DDIM",
    "EULER": "Euler",
    "EULER_A": "Euler a",
    "EULER_KARRAS": "Euler",
    "DPMPP": "DPM++ 2M",
    "DPMPP_KARRAS": "DPM++ 2M Karras",
    "DPMPP_SDE": "DPM++ 2M SDE",
    "DPMPP_SDE_KARRAS": "DPM++ 2M SDE Karras",
    "UNIPC": "UniPC",
    "UNIPC_KARRAS": "UniPC",
}

_SIDE = re.compile("[0-9]{1,9}")

_CONCEPT: dict[str, Rule] = {
    "path": becomes("image_dir", text),
    "text.enable_tag_shuffling": becomes("shuffle_caption", flag),
    "text.keep_tags_count": becomes("keep_tokens", whole),
    "text.tag_delimiter": becomes("caption_separator", text),
    "text.prompt_source": only("sample", fix=fixes.BESIDE),
    "text.caps_randomize_enable": only(fix="remove it; CLIP reads all letters as small ones"),
    "image.enable_random_flip": becomes("flip_aug", flag),
    "image.enable_crop_jitter": NOTHING,
    "image.enable_*": only(fix=fixes.CHANGED_COPIES),
    "include_subdirectories": only(fix="make a concept of each sub-folder"),
    "loss_weight": becomes("loss_weight", number),
    "type": only("STANDARD", fix=fixes.REGULARISATION),
    **all_of(
        """
        __version concept_stats* enabled image.* image_variations name seed text.* text_variations
        validation_concept
        """,
        NOTHING,
    ),
}


def read_concepts(settings: Settings) -> None:
    """Read the concepts as ``datasets``, at the resolutions of the config or their own.

    Of several resolutions OneTrainer draws one for each picture and epoch. Here each picture is
    trained at each of them, so that an epoch stands for as many of OneTrainer's.
    """
    usual = _resolutions(settings, "resolution", settings.take_word("resolution", "512"))
    rows = _rows(settings, "concepts", "concept_file_name")
    if rows is None:
        settings.values["resolution"] = usual[0]
        if len(usual) > 1:
            fix = "write [[data.subsets]] with each folder once for each resolution"
            settings.refuse("resolution", ",".join(map(str, usual)), fix)
        return
    concepts = []
    is_validated = _read_validation(settings)
    for row in rows:
        concept = Settings(settings.program, settings.where, row)
        kind = concept.take_word("type", "STANDARD")
        validates = kind == "VALIDATION" or concept.take("validation_concept", False)
        if (validates and not is_validated) or concept.take("enabled", True) is False:
            continue
        concept.left["type"] = "STANDARD" if validates else kind
        if validates:
            concept.values["validation_split"] = 1.0
        sizes = usual
        if concept.take("image.enable_resolution_override", False):
            own = concept.take("image.resolution_override")
            sizes = _resolutions(concept, "resolution_override", own)
        if concept.left.get("text.enable_tag_shuffling") is True:
            concept.values["keep_tokens"] = 1  # where the concept does not say otherwise
        _read_repeats(concept)
        _read_dropout(concept)
        concept.follow(_CONCEPT)
        folder = row.get("name") or row.get("path") or "without a name"
        settings.join(f"concept {folder}", concept)
        concepts.append((sizes, concept.values))
    length = math.lcm(*(len(sizes) for sizes, _ in concepts))
    for sizes, subset in concepts:
        subset["num_repeats"] *= length // len(sizes)
    settings.values["datasets"] = [
        {"resolution": size, "subsets": [subset]} for sizes, subset in concepts for size in sizes
    ]
    _lengthen_epochs(settings, length)


def _read_validation(settings: Settings) -> bool:
    """Read how often the concepts for validation are looked at; return False if they never are."""
    unit = settings.take_word("validate_after_unit", "EPOCH")
    if not settings.take_as(flag, "validation", False) or unit == "NEVER":
        return False
    every = settings.take_as(whole, "validate_after", 1)
    options = {"EPOCH": "validate_every_n_epochs", "STEP": "validate_every_n_steps"}
    if every > 0 and unit in options:
        settings.values[options[unit]] = every
    return True


def _lengthen_epochs(settings: Settings, length: int) -> None:
    """Count in epochs that stand for several of OneTrainer's.

    Args:
        settings: with the numbers of epochs already read.
        length: of an epoch here, in epochs of OneTrainer.
    """
    values = settings.values
    epochs = values["max_train_epochs"]
    if epochs % length:
        settings.refuse(
            "epochs", epochs, f"use a multiple of {length}, so that each size is trained as often"
        )
    for name in (
        "max_train_epochs",
        "save_every_n_epochs",
        "sample_every_n_epochs",
        "validate_every_n_epochs",
    ):
        if name in values:
            values[name] = math.ceil(values[name] / length)


def _rows(settings: Settings, name: str, file_name: str) -> list[Mapping[str, Any]] | None:
    """Return a list of tables from the config or from the file that it names; None: neither."""
    path = settings.take(file_name)
    rows = settings.take(name)
    if rows is None and path is not None:
        if name == "samples" and settings.companion(str(path)) is None:
            return None  # without them the captions of a few pictures are drawn
        rows = settings.read_companion(file_name, path, read_json, "the folders of pictures")
    if rows is None:
        return None
    settings.left[name] = rows
    return settings.take_rows(name)


def _resolutions(settings: Settings, name: str, value: object) -> list[int | str]:
    """Read "512", "768x512" (width x height) or several of them, as in "512,768"."""
    sizes: list[int | str] = []
    for choice in str(value).replace(" ", "").split(","):
        width, _, height = choice.partition("x")
        if not _SIDE.fullmatch(width) or not _SIDE.fullmatch(height or width):
            settings.refuse(name, value, 'write a size such as "768" or "768x512"')
            return [512]
        sizes.append(f"{width},{height}" if height else int(width))
    return list(dict.fromkeys(sizes))


def _read_repeats(concept: Settings) -> None:
    repeats = concept.take_as(number, "balancing", concept.take_as(number, "repeats", 1.0))
    strategy = concept.take_word("balancing_strategy", "REPEATS")
    concept.values["num_repeats"] = 1 if repeats % 1 else max(1, round(repeats))
    if repeats % 1:  # a part of the pictures, drawn anew in every epoch
        concept.values["multiply"] = repeats
    if strategy != "REPEATS":
        concept.refuse("balancing_strategy", strategy, f"choose REPEATS there: {fixes.REPEATS}")
    elif repeats <= 0:
        concept.refuse("balancing", repeats, "use a number above 0, or delete the concept")


def _read_dropout(concept: Settings) -> None:
    enabled = concept.take("text.tag_dropout_enable", False)
    mode = concept.take_word("text.tag_dropout_mode", "FULL")
    rate = concept.take_as(number, "text.tag_dropout_probability", 0.0)
    special = concept.take_word("text.tag_dropout_special_tags_mode", "NONE")
    if not enabled or not rate:
        return
    if mode == "RANDOM" and special == "NONE":
        concept.values["caption_tag_dropout_rate"] = rate
    else:
        concept.refuse(
            "text.tag_dropout_mode",
            mode,
            f"use caption_tag_dropout_rate = {rate:g}, which drops single tags, or "
            "caption_dropout_rate, which drops whole captions",
        )


def read_samples(settings: Settings) -> None:
    """Read how often pictures are drawn, and their prompts."""
    every = settings.take_as(number, "sample_after", 10.0)
    unit = settings.take_word("sample_after_unit", "MINUTE")
    options = {"EPOCH": "sample_every_n_epochs", "STEP": "sample_every_n_steps"}
    if unit in options and every >= 1:
        settings.values[options[unit]] = round(every)
    rows = _rows(settings, "samples", "sample_definition_file_name") or []
    lines = [_sample(row) for row in rows if row.get("enabled", True) and row.get("prompt")]
    if lines:
        settings.values["sample_prompts"] = lines


def _sample(row: Mapping[str, Any]) -> str:
    fields = {
        "n": row.get("negative_prompt"),
        "w": row.get("width"),
        "h": row.get("height"),
        "d": None if row.get("random_seed") else row.get("seed"),
        "s": row.get("diffusion_steps"),
        "l": row.get("cfg_scale"),
        "ss": _SAMPLERS.get(str(row.get("noise_scheduler"))),
    }
    return prompt_line(row["prompt"], fields)
