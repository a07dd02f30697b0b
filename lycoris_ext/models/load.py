"""From what the user named to a frozen pipeline; nothing here ever reaches for the network."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from lycoris_ext.errors import DataError
from lycoris_ext.models.config import MINI, ModelConfig, mini_base_folder
from lycoris_ext.models.folder import Parts, read_folder, read_vae
from lycoris_ext.models.pipeline import BaseSchedule, Pipeline
from lycoris_ext.models.quiet import quiet_loading

_SINGLE_FILE = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")


def load_pipeline(
    config: ModelConfig, device: torch.device | str, dtype: torch.dtype = torch.float32
) -> Pipeline:
    """Load a base model, freeze it, and put it into eval mode.

    Args:
        config: which model, which autoencoder, which clip skip.
        device: where all parts go.
        dtype: dtype of all parts; the autoencoder stays in float32 where this is float16, because
            several popular ones overflow there.

    Returns:
        The pipeline; no parameter of it requires a gradient.

    Raises:
        DataError: the model is not there, is no Stable Diffusion 1.x model, or lacks parts.
    """
    with quiet_loading():
        return _load(config, torch.device(device), dtype)


def _load(config: ModelConfig, device: torch.device, dtype: torch.dtype) -> Pipeline:
    folder = find_folder(config.pretrained_model_name_or_path)
    parts = read_folder(folder)
    weight_files = list(parts.weight_files)
    vae = parts.vae
    if config.vae is not None:
        vae, vae_file = read_vae(Path(config.vae))
        weight_files[-1] = vae_file
    vae_dtype = torch.float32 if dtype == torch.float16 else dtype
    return Pipeline(
        unet=_freeze(parts.unet, device, dtype),
        vae=_freeze(vae, device, vae_dtype),
        text_encoder=_freeze(parts.text_encoder, device, dtype),
        tokenizer=parts.tokenizer,
        schedule_config=parts.schedule_config,
        noise_schedule=_noise_schedule(parts, folder),
        name=MINI if config.pretrained_model_name_or_path == MINI else folder.name,
        weight_files=tuple(weight_files),
        clip_skip=config.clip_skip,
    )


def find_folder(name: str) -> Path:
    """Resolve a model's name to its folder.

    Raises:
        DataError: there is no such folder, or it is a single file.
    """
    if name == MINI:
        folder = mini_base_folder()
        if not folder.is_dir():
            raise DataError(
                "the small base model is not part of this installation",
                where=str(folder),
                fix="reinstall lycoris-ext, or name another model's folder",
            )
        return folder
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    if path.is_file() or path.suffix.lower() in _SINGLE_FILE:
        raise DataError(
            "this is a single file, and base models are read from a diffusers folder"
            if path.is_file()
            else "there is no such file",
            where=str(path),
            fix="name a folder with unet/, vae/, text_encoder/, tokenizer/ and scheduler/; "
            "diffusers' StableDiffusionPipeline.from_single_file(...).save_pretrained(FOLDER) "
            "makes one",
        )
    raise DataError(
        "there is no such folder, and models are never downloaded here",
        where=name,
        fix='download the model first ("hf download NAME --local-dir FOLDER") and name its folder, '
        f'or use "{MINI}"',
    )


def _noise_schedule(parts: Parts, folder: Path) -> BaseSchedule:
    from diffusers import DDPMScheduler

    known = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas")
    options = {key: parts.schedule_config[key] for key in known if key in parts.schedule_config}
    try:
        alphas_cumprod = DDPMScheduler(**options).alphas_cumprod
    except (NotImplementedError, TypeError) as error:
        raise DataError(
            f"the noise schedule cannot be built: {error}",
            where=str(folder / "scheduler" / "scheduler_config.json"),
            fix="restore the file from the model's source",
        ) from error
    prediction_type = str(parts.schedule_config.get("prediction_type", "epsilon"))
    return BaseSchedule(alphas_cumprod.float().cpu(), prediction_type)


def _freeze(module: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    return module.to(device=device, dtype=dtype).requires_grad_(False).eval()
