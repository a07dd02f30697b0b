"""Loading the base model that the user named; nothing is ever downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.files import expanded
from lycoris_ext.models.config import MINI, ModelConfig, mini_base_folder
from lycoris_ext.models.faults import library_errors
from lycoris_ext.models.folder import read_folder, read_vae_folder
from lycoris_ext.models.identify import check_v2
from lycoris_ext.models.parts import Dtypes, Parts
from lycoris_ext.models.pipeline import BaseSchedule, Pipeline
from lycoris_ext.models.quiet import quiet_loading
from lycoris_ext.models.single_file import read_single_file, read_vae_file

_PREDICTIONS = ("epsilon", "v_prediction", "sample")
_SINGLE_FILE = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
SMALL_SD2 = 64  # latents a side: an SD2 that predicts noise is made for 512 pixels, not for 768


def load_pipeline(
    config: ModelConfig, device: torch.device | str, dtype: torch.dtype = torch.float32
) -> Pipeline:
    """Load a base model, freeze it, and put it into eval mode.

    Args:
        config: the options that choose the model.
        device: where all parts go.
        dtype: dtype of all parts. If it is float16 the autoencoder stays in float32, because
            several popular ones overflow in float16.

    Returns:
        The pipeline; no parameter of it requires a gradient.

    Raises:
        ConfigError: an option contradicts the model, or the model does not say what it predicts.
        DataError: the model does not exist, is of an unknown family, or lacks parts.
    """
    with quiet_loading():
        return _load(config, torch.device(device), dtype)


def _load(config: ModelConfig, device: torch.device, dtype: torch.dtype) -> Pipeline:
    path = find_model(config.pretrained_model_name_or_path)
    dtypes = Dtypes.of(dtype)
    own_vae = config.vae is None
    if path.is_dir():
        parts = read_folder(path, dtypes, with_vae=own_vae)
        check_v2(config.v2, parts.family, name_of(config, path))
    else:
        parts = read_single_file(path, dtypes, with_vae=own_vae, v2=config.v2)
    if config.vae is not None:
        parts = _with_vae(parts, find_vae(config.vae), dtypes.vae)
    return assemble(parts, config, path, device, dtypes)


def assemble(
    parts: Parts, config: ModelConfig, path: Path, device: torch.device, dtypes: Dtypes
) -> Pipeline:
    """Check that the parts of a base model fit together, and make a frozen pipeline of them.

    Args:
        parts: of the model, with an autoencoder.
        config: the options that choose the model.
        path: the model's file or folder.
        device: where all parts go.
        dtypes: of the parts.

    Raises:
        ConfigError, DataError: as `load_pipeline`.
    """
    _check_fit(parts, path)
    parts = _with_prediction(parts, config.v_parameterization, path)
    second = len(parts.text_encoders) > 1
    return Pipeline(
        family=parts.family,
        unet=_freeze(parts.unet, device, dtypes.model),
        vae=_freeze(parts.vae, device, dtypes.vae),
        text_encoder=_freeze(parts.text_encoders[0], device, dtypes.model),
        tokenizer=parts.tokenizers[0],
        text_encoder_2=_freeze(parts.text_encoders[1], device, dtypes.model) if second else None,
        tokenizer_2=parts.tokenizers[1] if second else None,
        schedule_config=parts.schedule_config,
        noise_schedule=_noise_schedule(parts.schedule_config, path),
        name=name_of(config, path),
        weight_files=parts.weight_files,
        clip_skip=config.clip_skip,
        max_token_length=config.max_token_length,
        weighted_captions=config.weighted_captions,
    )


def find_model(name: str) -> Path:
    """Return the folder or file of a model.

    Args:
        name: a path, or "mini" for the model that is shipped with this package.

    Raises:
        DataError: it does not exist.
    """
    if name == MINI:
        folder = mini_base_folder()
        if not folder.is_dir():
            raise DataError(
                "the small base model is not part of this installation",
                where=str(folder),
                fix="reinstall lycoris-ext, or name another model",
            )
        return folder
    path = expanded(name)
    if path.exists():
        return path.resolve()
    if path.suffix.lower() in _SINGLE_FILE:
        raise DataError("there is no such file", where=str(path), fix="check the path")
    raise DataError(
        "there is no such folder, and models are never downloaded here",
        where=name,
        fix='download the model first ("hf download NAME --local-dir FOLDER") and name its folder, '
        f'or use "{MINI}"',
    )


def find_vae(name: str) -> Path:
    """Return the folder or file that the option `vae` names.

    Raises:
        DataError: it does not exist.
    """
    path = expanded(name)
    if not path.exists():
        raise DataError(
            "there is no such file or folder", where=f"vae {name}", fix="check the path"
        )
    return path


def name_of(config: ModelConfig, path: Path) -> str:
    """Return the name of a model: "mini", or that of its file or folder."""
    if config.pretrained_model_name_or_path == MINI:
        return MINI
    return path.name if path.is_dir() else path.stem


def _with_vae(parts: Parts, path: Path, dtype: torch.dtype) -> Parts:
    if path.is_file():
        return parts.with_vae(read_vae_file(path, parts.family, dtype), path)
    vae, files = read_vae_folder(path, dtype)
    return parts.with_vae(vae, *files)


def _check_fit(parts: Parts, path: Path) -> None:
    """Raise an error if the parts do not fit together, or if the U-Net needs more than latents.

    Inpainting models, for example, also take a mask.
    """
    width = sum(encoder.config.hidden_size for encoder in parts.text_encoders)
    wanted = parts.unet.config.cross_attention_dim
    if width != wanted:
        raise DataError(
            f"the text encoder gives {width} values a token, and the U-Net takes {wanted}",
            where=str(path),
            fix="download the model again: these parts are of different models",
        )
    channels, taken = parts.vae.config.latent_channels, parts.unet.config.in_channels
    if channels != taken:
        raise DataError(
            f"the autoencoder gives {channels} channels, and the U-Net takes {taken}",
            where=str(path),
            fix="name the vae that belongs to the model; inpainting models (9 channels) are not "
            "trained here",
        )
    for encoder, tokenizer in zip(parts.text_encoders, parts.tokenizers, strict=True):
        known, names = int(encoder.config.vocab_size), ("bos_token", "eos_token", "pad_token")
        for name in names:
            number = getattr(tokenizer, f"{name}_id")
            if number is None or not 0 <= number < known:
                raise DataError(
                    f"the tokenizer's {name} has the number {number}, and the text encoder knows "
                    f"those below {known}",
                    where=str(path),
                    fix="download the model again: tokenizer and text encoder do not belong "
                    "together",
                )


def _with_prediction(parts: Parts, v_parameterization: bool | None, path: Path) -> Parts:
    """Set `prediction_type` in the schedule config: the option counts, otherwise the model's own.

    For an SD2 file that predicts noise the U-Net's picture size is set to 512 pixels, too.
    """
    config = dict(parts.schedule_config)
    if v_parameterization is not None:
        config["prediction_type"] = "v_prediction" if v_parameterization else "epsilon"
    elif config.get("prediction_type") is None:
        if parts.family.v2 and path.is_file():
            raise ConfigError(
                f"{path.name} is {parts.family.title} and does not say what it predicts, which "
                "cannot be seen in its weights",
                where="v_parameterization",
                fix="set v_parameterization = true for a 768-pixel model, false for a 512-pixel "
                "(base) model",
            )
        config["prediction_type"] = "epsilon"
    if parts.family.v2 and path.is_file() and config["prediction_type"] == "epsilon":
        parts.unet.register_to_config(sample_size=SMALL_SD2)
    return replace(parts, schedule_config=config)


def _noise_schedule(config: Mapping[str, Any], path: Path) -> BaseSchedule:
    """Build the noise schedule that scheduler_config.json describes.

    Raises:
        DataError: it describes none.
    """
    from diffusers import DDPMScheduler

    file, predicts = path / "scheduler" / "scheduler_config.json", config["prediction_type"]
    if predicts not in _PREDICTIONS:
        raise DataError(
            f"prediction_type is {predicts!r}, expected one of {', '.join(_PREDICTIONS)}",
            where=str(file),
            fix="restore the file from the model's source, or set v_parameterization",
        )

    known = (
        "num_train_timesteps",
        "beta_start",
        "beta_end",
        "beta_schedule",
        "trained_betas",
        "rescale_betas_zero_snr",
    )
    options = {key: config[key] for key in known if key in config}
    with library_errors(file):
        alphas_cumprod = DDPMScheduler(**options).alphas_cumprod.float().cpu()
    if not (len(alphas_cumprod) and bool(((alphas_cumprod >= 0) & (alphas_cumprod <= 1)).all())):
        raise DataError(
            f"{options} is no noise schedule: the share of the picture that is left at a timestep "
            "must lie between 0 and 1",
            where=str(file),
            fix="restore the file from the model's source",
        )
    return BaseSchedule(alphas_cumprod, predicts)


def _freeze(module: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    return module.to(device=device, dtype=dtype).requires_grad_(False).eval()
