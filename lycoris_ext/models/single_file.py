"""Reading a base model from a single file.

Such a file holds only weights: configs and tokenizers come from this package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lycoris_ext.errors import DataError
from lycoris_ext.formats.families import Family, TextEncoder
from lycoris_ext.formats.strangers import MODEL, kind_of
from lycoris_ext.formats.weights import Weights, load_weights
from lycoris_ext.models.build import build_part, read_json, with_present_names
from lycoris_ext.models.faults import library_errors
from lycoris_ext.models.fill import fill
from lycoris_ext.models.identify import UNET, check_v2, identify, stated_prediction
from lycoris_ext.models.part_configs import config_folder
from lycoris_ext.models.parts import Dtypes, Parts
from lycoris_ext.models.text_encoder import below, from_open_clip, read_text_encoder
from lycoris_ext.models.tokenizer import clip_tokenizer

_VAE_PREFIXES = ("first_stage_model.", "vae.", "")
_VAE_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")


def read_single_file(path: Path, dtypes: Dtypes, *, with_vae: bool, v2: bool | None) -> Parts:
    """Read the parts of a base model from a .safetensors or .ckpt file onto the CPU.

    Args:
        path: the file.
        dtypes: dtypes of the parts.
        with_vae: whether to read the file's own autoencoder; if not, the file may lack it.
        v2: the option `v2`; None if it is unset.

    Raises:
        ConfigError: `v2` contradicts the file.
        DataError: the file is no base model (the message says what it is), or lacks parts.
    """
    weights = load_weights(path)
    tensors = weights.tensors
    family = identify(tensors, path)
    check_v2(v2, family, path.name)
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    stored = {key: tensor for key, tensor in tensors.items() if key.startswith(UNET)}
    unet = _build(
        UNet2DConditionModel,
        convert_ldm_unet_checkpoint,
        stored,
        config_folder(family, "unet"),
        path,
        dtypes.model,
    )
    encoders = tuple(
        _read_text_encoder(family, encoder, tensors, path, dtypes.model)
        for encoder in family.text_encoders
    )
    return Parts(
        family=family,
        unet=unet,
        vae=_read_vae(tensors, family, path, dtypes.vae) if with_vae else None,
        text_encoders=encoders,
        tokenizers=tuple(clip_tokenizer(encoder.config.pad_token_id) for encoder in encoders),
        schedule_config=schedule_of_file(family, weights),
        weight_files=(path,),
    )


def read_vae_file(path: Path, family: Family, dtype: torch.dtype) -> Any:
    """Read an autoencoder from its own file, or from the file of a whole model.

    Args:
        path: a .safetensors, .ckpt or .pt file.
        family: of the base model that will use it; decides how latents are scaled.
        dtype: of the autoencoder.

    Returns:
        The autoencoder on the CPU.

    Raises:
        DataError: the file holds no autoencoder.
    """
    return _read_vae(load_weights(path).tensors, family, path, dtype)


def _read_vae(tensors: Mapping[str, Tensor], family: Family, path: Path, dtype: torch.dtype) -> Any:
    from diffusers import AutoencoderKL
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    for prefix in _VAE_PREFIXES:
        own = {
            key: tensor
            for key, tensor in below(prefix, tensors).items()
            if key.startswith(_VAE_PARTS)
        }
        if own:
            config = config_folder(family, "vae")
            return _build(AutoencoderKL, convert_ldm_vae_checkpoint, own, config, path, dtype)
    raise no_vae(tensors, path)


def holds_vae(tensors: Mapping[str, Tensor]) -> bool:
    """Return True if a file has an autoencoder, its own or that of a whole model."""
    begins = tuple(prefix + part for prefix in _VAE_PREFIXES for part in _VAE_PARTS)
    return any(key.startswith(begins) for key in tensors)


def no_vae(tensors: Mapping[str, Tensor], path: Path) -> DataError:
    """Make the error for a file without an autoencoder."""
    kind = kind_of({key: tensor.shape for key, tensor in tensors.items()})
    told = f": this is {kind.name}" if kind and kind is not MODEL else ""
    return DataError(
        f"this file holds no autoencoder (VAE){told}",
        where=str(path),
        fix="name one with vae: a folder, or a .safetensors, .ckpt or .pt file",
    )


def _read_text_encoder(
    family: Family,
    encoder: TextEncoder,
    tensors: Mapping[str, Tensor],
    path: Path,
    dtype: torch.dtype,
) -> Any:
    stored = below(encoder.in_checkpoint, tensors)
    if encoder.open_clip:
        stored = from_open_clip(stored)
    return read_text_encoder(config_folder(family, encoder.target), stored, path, dtype)


def _build(
    kind: Any,
    convert: Callable[..., dict[str, Tensor]],
    stored: dict[str, Tensor],
    config: Path,
    path: Path,
    dtype: torch.dtype,
) -> Any:
    """Build a U-Net or an autoencoder from its config, and fill it with stored weights.

    Args:
        kind: the class in diffusers.
        convert: diffusers' function that renames weights from ldm's names to its own.
        stored: name -> weight, in either naming.
        config: folder of the config.
        path: the weights' file, for messages.
        dtype: of the part.
    """
    from accelerate import init_empty_weights

    with init_empty_weights():
        model = build_part(kind, config)
    stored = with_present_names(stored)
    if set(stored) != set(model.state_dict()):
        with library_errors(path):
            stored = convert(stored, dict(model.config))
    fill(model, stored, path, dtype)
    return model


def schedule_of_file(family: Family, weights: Weights) -> Mapping[str, Any]:
    """Return the family's scheduler config, with `prediction_type` only if the file states it."""
    schedule = dict(read_json(config_folder(family, "scheduler") / "scheduler_config.json"))
    del schedule["prediction_type"]
    stated = stated_prediction(weights)
    return schedule if stated is None else {**schedule, "prediction_type": stated}
