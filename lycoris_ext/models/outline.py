"""A base model without its weights: what can be known of it before gigabytes are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lycoris_ext.formats.families import Family
from lycoris_ext.formats.weights import load_weights
from lycoris_ext.models.build import build_part, read_json
from lycoris_ext.models.config import ModelConfig
from lycoris_ext.models.folder import (
    check_files,
    family_of_folder,
    tokenizer_of,
    vae_weights,
    weight_files,
)
from lycoris_ext.models.identify import check_v2, identify, stated_prediction
from lycoris_ext.models.load import SMALL_SD2, assemble, find_model, find_vae, name_of
from lycoris_ext.models.part_configs import config_folder
from lycoris_ext.models.parts import Dtypes, Parts
from lycoris_ext.models.pipeline import USUAL_SIZE, Pipeline
from lycoris_ext.models.quiet import quiet_loading
from lycoris_ext.models.single_file import holds_vae, no_vae, schedule_of_file
from lycoris_ext.models.text_encoder import build_text_encoder
from lycoris_ext.models.tokenizer import clip_tokenizer, read_tokenizer


def load_outline(config: ModelConfig) -> Pipeline:
    """Build a base model on the meta device: with all shapes and options, without weights.

    Everything that `load_pipeline` refuses is refused here, too, except for damaged weights.

    Raises:
        ConfigError, DataError: as `load_pipeline`.
    """
    path = find_model(config.pretrained_model_name_or_path)
    with quiet_loading(), torch.device("meta"):
        parts = (_of_folder if path.is_dir() else _of_file)(path, config)
    with quiet_loading():
        return assemble(parts, config, path, torch.device("meta"), Dtypes.of(torch.float32))


def picture_size_of(config: ModelConfig) -> int:
    """Return the side in pixels of the square pictures that a base model was made for.

    Only its configs are read, or the names of the tensors in its file.

    Raises:
        DataError: the model does not exist, or is no base model.
    """
    path = find_model(config.pretrained_model_name_or_path)
    if path.is_dir():
        family = family_of_folder(path)
        unet = _config(path, family, "unet")
        return _side(unet.get("sample_size"), _config(path, family, "vae"))
    weights = load_weights(path)
    family = identify(weights.tensors, path)
    predicts = stated_prediction(weights)
    if config.v_parameterization is not None:
        predicts = "v_prediction" if config.v_parameterization else "epsilon"
    return usual_size(family, predicts)


def check_vae(config: ModelConfig) -> None:
    """Check that the option `vae`, if it is set, names an autoencoder, without reading weights.

    Raises:
        DataError: it names none.
    """
    if config.vae is not None:
        _weights_of_vae(find_vae(config.vae))


def usual_size(family: Family, predicts: str | None) -> int:
    """Return the side in pixels of the pictures that a family's models are made for.

    Args:
        family: one of ``part_configs.LOADED``.
        predicts: "epsilon" or "v_prediction", which tells Stable Diffusion 2's sizes apart.
    """
    folder = config_folder(family, "unet").parent
    small = family.v2 and predicts != "v_prediction"
    size = SMALL_SD2 if small else _config(folder, family, "unet")["sample_size"]
    return _side(size, _config(folder, family, "vae"))


def _config(folder: Path, family: Family, part: str) -> Mapping[str, Any]:
    """Read the config of a part; of an autoencoder that a folder lacks, the family's."""
    own = folder / part / "config.json"
    return read_json(own if own.is_file() else config_folder(family, part) / "config.json")


def _side(latents: Any, vae: Mapping[str, Any]) -> int:
    size = latents if isinstance(latents, int) else USUAL_SIZE
    levels = vae.get("block_out_channels")
    return size * 2 ** (len(levels) - 1 if isinstance(levels, list) and levels else 0)


def _of_folder(path: Path, config: ModelConfig) -> Parts:
    family = family_of_folder(path)
    check_files(path, family, config.vae is None)
    check_v2(config.v2, family, name_of(config, path))
    names = family.text_targets
    return _parts(
        family,
        {part: path / part for part in ("unet", "vae", *names)},
        config.vae,
        tokenizers=tuple(read_tokenizer(path / tokenizer_of(name)) for name in names),
        schedule_config=read_json(path / "scheduler" / "scheduler_config.json"),
        weight_files=weight_files(path, family, config.vae is None),
    )


def _of_file(path: Path, config: ModelConfig) -> Parts:
    weights = load_weights(path)
    family = identify(weights.tensors, path)
    check_v2(config.v2, family, name_of(config, path))
    if config.vae is None and not holds_vae(weights.tensors):
        raise no_vae(weights.tensors, path)
    parts = ("unet", "vae", *family.text_targets)
    return _parts(
        family,
        {part: config_folder(family, part) for part in parts},
        config.vae,
        tokenizers=tuple(clip_tokenizer(0) for _ in family.text_targets),
        schedule_config=schedule_of_file(family, weights),
        weight_files=(path,),
    )


def _parts(family: Family, folders: dict[str, Path], vae: str | None, **more: Any) -> Parts:
    """Build the parts that the configs in these folders describe."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    if vae is not None:
        path = find_vae(vae)
        folders["vae"] = vae_weights(path)[0] if path.is_dir() else config_folder(family, "vae")
        more["weight_files"] = (*more["weight_files"], *_weights_of_vae(path))
    unet, own_vae = (
        build_part(kind, folders[part])
        for kind, part in ((UNet2DConditionModel, "unet"), (AutoencoderKL, "vae"))
    )
    encoders = tuple(build_text_encoder(folders[name]) for name in family.text_targets)
    return Parts(family=family, unet=unet, vae=own_vae, text_encoders=encoders, **more)


def _weights_of_vae(path: Path) -> tuple[Path, ...]:
    """Return the files with the weights of an autoencoder in a folder or file of its own."""
    if path.is_dir():
        return vae_weights(path)[1]
    weights = load_weights(path)
    if not holds_vae(weights.tensors):
        raise no_vae(weights.tensors, path)
    return (path,)
