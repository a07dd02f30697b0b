"""SimpleTuner's data sets, in the JSON file that ``data_backend_config`` names.

Source: https://github.com/bghira/SimpleTuner at bc8e6ab, documentation/DATALOADER.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from lycoris_ext.config.imports import fixes
from lycoris_ext.config.imports.json_text import read_json
from lycoris_ext.config.imports.settings import (
    NOTHING,
    Rule,
    Settings,
    all_of,
    becomes,
    flag,
    number,
    only,
    share,
    text,
    whole,
)

_OF_CAPTIONS = (
    "caption_strategy",
    "instance_prompt",
    "prepend_instance_prompt",
    "only_instance_prompt",
)
"""Settings of the config that data sets without them take."""
_OTHER_KINDS = ("text_embeds", "image_embeds", "conditioning_image_embeds", "distillation_cache")
"""Entries that name places of caches, not pictures."""


def read_datasets(settings: Settings) -> None:
    """Read the data sets as ``datasets``, with the config's resolution where they have none."""
    resolution = settings.take("resolution", 1024)
    kind = settings.take_word("resolution_type", "pixel_area")
    usual = {name: value for name in _OF_CAPTIONS if (value := settings.take(name)) is not None}
    path = settings.take("data_backend_config")
    rows: object = None
    if path is not None:
        rows = settings.read_companion(
            "data_backend_config", path, read_json, "the folders of pictures"
        )
    if not isinstance(rows, list):
        settings.values["resolution"] = _side(settings, resolution, kind)
        return
    datasets = []
    masks = _folders_of_masks(rows)
    for row in rows:
        if not isinstance(row, Mapping) or row.get("dataset_type", "image") in _OTHER_KINDS:
            continue
        if str(row.get("id")) in masks:
            continue
        if str(row.get("disabled", row.get("disable", False))).lower() == "true":
            continue
        part = Settings(settings.program, settings.where, {**usual, **row})
        if str(row.get("conditioning_data")) in masks:
            part.values["conditioning_data_dir"] = masks[part.take("conditioning_data")]
            settings.values["masked_loss"] = True
        place = part.take_word("type", "local")
        if place == "local":
            datasets.append(_dataset(part, resolution, kind))
        else:
            part.refuse("type", place, "copy the pictures into a folder of this machine")
        settings.join(f"data set {row.get('id', '')}".rstrip(), part)
    if datasets:
        settings.values["datasets"] = datasets


def _folders_of_masks(rows: list[object]) -> dict[str, str]:
    """Return id -> folder of the data sets that hold masks for the pictures of others."""
    return {
        row["id"]: row["instance_data_dir"]
        for row in rows
        if isinstance(row, Mapping)
        and row.get("conditioning_type") == "mask"
        and isinstance(row.get("instance_data_dir"), str)
        and isinstance(row.get("id"), str)
    }


def _dataset(part: Settings, resolution: object, kind: object) -> dict[str, object]:
    """Return one data set as sd-scripts writes it.

    Args:
        part: its settings.
        resolution, kind: those of the config, for a data set without its own.
    """
    square = _is_square(part)
    resolution = part.take("resolution", resolution)
    kind = part.take("resolution_type", kind)
    side = _side(part, resolution, "pixel_area" if square and kind == "pixel" else kind)
    dataset: dict[str, object] = {"resolution": side, "enable_bucket": not square}
    if "train_batch_size" in part.left:
        dataset["batch_size"] = part.take_as(whole, "train_batch_size", 1)
    _read_captions(part)
    if part.left.get("dataset_type") == "eval":
        part.left["dataset_type"] = "image"
        part.values["validation_split"] = 1.0
    part.values["num_repeats"] = 1 + max(0, part.take_as(whole, "repeats", 0))
    part.follow(_DATASET)
    return {**dataset, "subsets": [part.values]}


def _side(settings: Settings, value: object, kind: object) -> int:
    """Return the side of a square with the area that a resolution means."""
    try:
        size = number(value)
        if kind == "area":  # in megapixels
            return max(64, 64 * round(math.sqrt(size * 1e6) / 64))
        side = whole(value)
    except (ValueError, OverflowError, TypeError):
        settings.refuse("resolution", value, "write a whole number")
        return 1024
    if kind not in ("area", "pixel", "pixel_area"):
        settings.refuse("resolution_type", kind, "use pixel_area")
    if kind == "pixel":
        settings.refuse(
            "resolution_type",
            kind,
            f"use pixel_area: here resolution = {side} means the area of a square of this side, "
            "not the shorter side of each picture",
        )
    return side


def _is_square(part: Settings) -> bool:
    crop = part.take_as(flag, "crop", False)
    aspect = part.take_word("crop_aspect", "square")
    if crop and aspect not in ("square", "preserve"):
        part.refuse("crop_aspect", aspect, "use square or preserve")
    return bool(crop and aspect == "square")


def _read_captions(part: Settings) -> None:
    strategy = part.take_word("caption_strategy", "filename")
    prompt = part.take("instance_prompt")
    alone = part.take_as(flag, "only_instance_prompt", False)
    if strategy == "instanceprompt" or alone:
        part.values["class_tokens"] = prompt or ""
        part.refuse(
            "only_instance_prompt" if alone else "caption_strategy",
            True if alone else strategy,
            "move the caption files away: class_tokens is the caption of pictures without one",
        )
    elif strategy != "textfile":
        part.refuse("caption_strategy", strategy, fixes.BESIDE)
    elif part.take_as(flag, "prepend_instance_prompt", False) and prompt:
        part.values["caption_prefix"] = prompt
    if part.take("caption_shuffle.enable", False) is True:
        part.values["shuffle_caption"] = True
        part.values["keep_tokens"] = part.take_as(whole, "caption_shuffle.position_start", 0)


_WHOLE_RUN = "remove it; a data set is trained in the whole run"
_SMALL = "move such pictures to another folder; all pictures of a folder are trained"
_DATASET: dict[str, Rule] = {
    "instance_data_dir": becomes("image_dir", text),
    "caption_dropout_probability": becomes("caption_dropout_rate", share),
    "dataset_type": only("image", fix="use a data set of pictures"),
    "minimum_image_size": only(0, fix=_SMALL),
    "minimum_aspect_ratio": only(0, fix=_SMALL),
    "maximum_aspect_ratio": only(0, fix=_SMALL),
    "max_num_samples": only(0, fix="copy the pictures that are to be trained into a folder"),
    "probability": only(1, fix=fixes.REPEATS),
    "is_regularisation_data": only(fix=fixes.REGULARISATION),
    "is_regularization_data": only(fix=fixes.REGULARISATION),
    "conditioning*": only(fix=fixes.NO_CONDITIONING),
    "start_epoch": only(0, 1, fix=_WHOLE_RUN),
    **all_of("start_step end_epoch end_step", only(0, fix=_WHOLE_RUN)),
    "parquet*": only(fix=fixes.BESIDE),
    **all_of(
        """
        audio* aws_* cache_* caption_filter_list caption_shuffle.* crop_* csv_* default delete_*
        disable disable_* disabled hash_filenames huggingface* id ignore_epochs image_embeds
        instance_prompt max_upscale_threshold maximum_image_size memory_* metadata_*
        only_instance_prompt prepend_instance_prompt preserve_* read_batch_size repeats
        skip_file_discovery target_downsample_size text_* timestep_sampling_offset vae_* video*
        webshart* write_batch_size
        """,
        NOTHING,
    ),
}
