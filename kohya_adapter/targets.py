"""The models that a script hands over, under the core's names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from lycoris_ext.formats.families import TEXT_ENCODERS, Family, family_of_models
from lycoris_ext.formats.keys import target_of

TextEncoders = nn.Module | Sequence[nn.Module | None] | None
"""One model (SD1, SD2), a list of them, a list of one (gen_img.py), or None."""

#: The third text encoder is T5 wherever there is one: FLUX has no second.
_T5 = "text_encoder_3"


def name_targets(
    text_encoder: TextEncoders, unet: nn.Module | None, train_t5xxl: bool = True
) -> dict[str, nn.Module]:
    """Model by the core's name, the text encoders first, as sd-scripts has them.

    Args:
        text_encoder: as a script passes it.
        unet: the U-Net or transformer.
        train_t5xxl: whether T5 is among them.
    """
    targets = _encoders(text_encoder, unet)
    if not train_t5xxl:
        targets.pop(_T5, None)
    targets["unet"] = unet
    return {name: model for name, model in targets.items() if model is not None}


def name_models(text_encoder: TextEncoders, unet: nn.Module | None) -> tuple[str, ...]:
    """The core's names of all that a script hands over, those that are None or not trained among
    them: a list of rates goes by these places."""
    return (*_encoders(text_encoder, unet), "unet")


def _encoders(text_encoder: TextEncoders, unet: nn.Module | None) -> dict[str, nn.Module | None]:
    handed = [text_encoder] if isinstance(text_encoder, nn.Module) else list(text_encoder or ())
    family = family_of_unet(unet)
    # Without a U-Net nothing tells whether this is SD1, which has one text encoder, or SDXL.
    names = TEXT_ENCODERS if unet is None else family.text_targets
    return dict(zip(names, handed, strict=False))


def family_of_unet(unet: nn.Module | None) -> Family:
    """The family of a U-Net or transformer; that of SD1 where there is none."""
    return family_of_models((), () if unet is None else (name for name, _ in unet.named_children()))


def has_t5(layers: Iterable[str]) -> bool:
    """Whether a file adapts T5, by the names of its layers."""
    return any(target_of(layer) == _T5 for layer in layers)
