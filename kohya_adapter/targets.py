"""Naming the models that sd-scripts passes as this package names them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from lycoris_ext.formats.families import TEXT_ENCODERS, Family, family_of_models
from lycoris_ext.formats.keys import target_of

TextEncoders = nn.Module | Sequence[nn.Module | None] | None
"""What sd-scripts passes as text encoders: one model (SD1, SD2), a list of models, or None."""

#: T5's name in all families that have it; FLUX has no second text encoder.
_T5 = "text_encoder_3"


def name_targets(
    text_encoder: TextEncoders, unet: nn.Module | None, train_t5xxl: bool = True
) -> dict[str, nn.Module]:
    """Name the models that can be adapted; the text encoders come first, as in sd-scripts.

    Args:
        text_encoder: the text encoders, as a script passes them.
        unet: the U-Net or transformer.
        train_t5xxl: whether T5 is included.

    Returns:
        Name ("text_encoder", "unet", ...) -> model, without those that are None.
    """
    targets = _encoders(text_encoder, unet)
    if not train_t5xxl:
        targets.pop(_T5, None)
    targets["unet"] = _unwrapped(unet)
    return {name: model for name, model in targets.items() if model is not None}


def name_models(text_encoder: TextEncoders, unet: nn.Module | None) -> tuple[str, ...]:
    """Return the names of all models that a script passes, even of those that are None.

    sd-scripts' lists of learning rates have one entry for each of them, in this order.
    """
    return (*_encoders(text_encoder, unet), "unet")


def _unwrapped(unet: nn.Module | None) -> nn.Module | None:
    """Return the model inside the wrapper with which ``gen_img.py`` draws, which is no module."""
    return unet if isinstance(unet, nn.Module) else getattr(unet, "delegate", unet)


def _encoders(text_encoder: TextEncoders, unet: nn.Module | None) -> dict[str, nn.Module | None]:
    handed = [text_encoder] if isinstance(text_encoder, nn.Module) else list(text_encoder or ())
    family = family_of_unet(unet)
    # Without a U-Net the family is not known: any number of text encoders is accepted.
    names = TEXT_ENCODERS if unet is None else family.text_targets
    return dict(zip(names, handed, strict=False))


def family_of_unet(unet: nn.Module | None) -> Family:
    """Return the family of a U-Net or transformer; SD1 if it is None or of no known family."""
    return family_of_models((), () if unet is None else (name for name, _ in unet.named_children()))


def has_t5(layers: Iterable[str]) -> bool:
    """Return True if some layer of a file belongs to T5.

    Args:
        layers: the layers' names in the file.
    """
    return any(target_of(layer) == _T5 for layer in layers)
