"""Finding out from keys and shapes which model a single file holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.formats.families import Family
from lycoris_ext.formats.strangers import ADAPTER, MODEL, also, kind_of
from lycoris_ext.formats.weights import Weights
from lycoris_ext.models.config import MINI
from lycoris_ext.models.part_configs import LOADED
from lycoris_ext.words import and_more, count

UNET = "model.diffusion_model."
_FIRST_LAYER = f"{UNET}input_blocks.0.0.weight"
_SIZES = f"{UNET}label_emb.0.0.weight"  # reads picture sizes in SDXL, pictures in unCLIP
_KNOWN = ", ".join(family.title for family in LOADED.values())
_NAME_A_MODEL = f"name a base model: {_KNOWN}"


def identify(tensors: Mapping[str, Tensor], where: Path) -> Family:
    """Find out the family of a base model from the tensors of its file.

    Args:
        tensors: key -> tensor of the whole file.
        where: the file, for messages.

    Raises:
        DataError: the file is no base model, or is one that adapters cannot be trained on here;
            the message says what it is.
    """
    if _FIRST_LAYER not in tensors:
        what, fix = _something_else(tensors)
        raise DataError(f"this is {what}", where=str(where), fix=fix)
    family = _by_text_encoder(tensors, where)
    shape = tensors[_FIRST_LAYER].shape
    channels = shape[1] if len(shape) == 4 else 0
    variant = {8: "an edit model (InstructPix2Pix)", 9: "an inpainting model"}.get(channels)
    if family.id == "sd2" and _SIZES in tensors:
        variant = "Stable Diffusion 2.1 unCLIP"
    if "edm_mean" in tensors:
        variant = "Playground 2.5, whose noise is scaled in its own way"
    if variant or channels != family.latent_channels:
        raise DataError(
            f"this is {variant or 'a model with other inputs'} ({channels} input channels), and "
            "adapters are trained on plain text-to-image models here",
            where=str(where),
            fix="name the model it was made from",
        )
    return family


def check_v2(v2: bool | None, family: Family, name: str) -> None:
    """Check the option `v2` against the family of the model.

    Args:
        v2: the option; None if it is unset.
        family: of the model.
        name: of the model, for messages.

    Raises:
        ConfigError: they contradict each other.
    """
    if v2 is not None and v2 != family.v2:
        # "mini" is built like Stable Diffusion 1, and is none.
        what = "no Stable Diffusion 2.x" if name == MINI else family.title
        raise ConfigError(
            f"v2 is {str(v2).lower()}, and the base model {name} is {what}",
            where="v2",
            fix="leave v2 out: the family is found in the model",
        )


def stated_prediction(weights: Weights) -> str | None:
    """Return what a single file says its U-Net predicts: "epsilon", "v_prediction" or None.

    None means that the file does not say it.

    Sources: https://github.com/Stability-AI/ModelSpec for the metadata; the empty tensor `v_pred`
    marks velocity models of the SDXL family for ComfyUI and Forge.
    """
    if "v_pred" in weights.tensors:
        return "v_prediction"
    kind = weights.metadata.get("modelspec.prediction_type", "").lower()
    if kind in ("v", "v_prediction"):
        return "v_prediction"
    if kind == "epsilon":
        return "epsilon"
    architecture = weights.metadata.get("modelspec.architecture", "")
    found = [
        variant.predicts
        for family in LOADED.values()
        for variant in family.variants
        if variant.architecture == architecture
    ]
    return found[0] if len(found) == 1 else None  # some names stand for both kinds


def _something_else(tensors: Mapping[str, Tensor]) -> tuple[str, str]:
    """Describe a file that holds no base model, and say what to do instead."""
    kind = kind_of({key: tensor.shape for key, tensor in tensors.items()})
    if kind is MODEL:
        return "a model of a family that is not known here", _NAME_A_MODEL
    if kind is not None:
        return kind.name, kind.mend if kind is ADAPTER else also(kind.mend, _NAME_A_MODEL)
    held = f"{count(len(tensors), 'tensor')}: {and_more(sorted(tensors))}"
    return f"no base model; it holds {held}", _NAME_A_MODEL


def _by_text_encoder(tensors: Mapping[str, Tensor], where: Path) -> Family:
    """Tell the family by the prefix of the text encoders' keys.

    The U-Nets of all families have the same keys.
    """
    for family in reversed(LOADED.values()):
        if any(key.startswith(family.text_encoders[-1].in_checkpoint) for key in tensors):
            return family
    if any(key.startswith("conditioner.embedders.0.model.") for key in tensors):
        raise DataError(
            "this is the SDXL refiner, which is not trained by itself",
            where=str(where),
            fix="name the SDXL base model",
        )
    raise DataError(
        "this file holds a U-Net but no text encoder",
        where=str(where),
        fix="name the whole model: one file with all parts, or a diffusers folder",
    )
