"""Find out before anything is encoded whether MODEL, CLIP, VAE and conditionings fit together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lycoris_ext.errors import ConfigError, Faults

from .prediction import LATENTS

_WIDTHS = ("context_dim", "context_in_dim")
"""Names in ComfyUI's descriptions of models for the numbers of each token that a model reads."""


def check_cables(
    model: Any,
    clip: Any,
    vae: Any,
    conditionings: Mapping[str, Any],
    latents: Mapping[str, Tensor],
) -> None:
    """Refuse connected parts that belong to models of different families.

    Args:
        model: ComfyUI's MODEL.
        clip, vae: ComfyUI's CLIP and VAE; either may be None.
        conditionings: ComfyUI's CONDITIONINGs by the captions that they stand for.
        latents: [C, h, w] each, if other nodes encoded the pictures.

    Raises:
        ConfigError: all that does not fit, as one error.
    """
    faults = Faults()
    if vae is not None:
        with faults:
            _check_channels(model, "vae", "connected VAE makes latents", vae.latent_channels)
    for channels in sorted({latent.shape[0] for latent in latents.values()}):
        with faults:
            _check_channels(model, "latents", "dataset has latents", channels)
    read = _width_read(model)
    if read is not None:
        encoded = {text: _width(conditioning) for text, conditioning in conditionings.items()}
        for width in sorted({width for width in encoded.values() if width != read}):
            with faults:
                raise _wrong_width("conditioning", "conditionings have", width, read)
        if clip is not None:
            with faults, torch.inference_mode():
                width = _width(clip.encode_from_tokens_scheduled(clip.tokenize("")))
                if width != read:
                    raise _wrong_width("clip", "connected CLIP gives", width, read)
    faults.raise_all()


def _check_channels(model: Any, where: str, what: str, channels: int) -> None:
    read = model.get_model_object(LATENTS).latent_channels
    if channels != read:
        raise ConfigError(
            f"the {what} of {channels} channels, and the model reads {read}",
            where=where,
            fix="use the VAE of the model's own family, such as the one of its checkpoint",
        )


def _width_read(model: Any) -> int | None:
    """Return how many numbers of each token the model reads; None if ComfyUI does not say it."""
    described = getattr(model.model.model_config, "unet_config", {})
    found = (described.get(name) for name in _WIDTHS)
    return next((width for width in found if isinstance(width, int)), None)


def _width(conditioning: Any) -> int:
    (states, _), *_ = conditioning
    return int(states.shape[-1])


def _wrong_width(where: str, what: str, width: int, read: int) -> ConfigError:
    return ConfigError(
        f"the {what} {width} numbers for each token, and the model reads {read}",
        where=where,
        fix="connect the text encoder of the model's own family, such as the one of its checkpoint",
    )
