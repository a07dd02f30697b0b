"""Reading what PEFT and diffusers store in another way: alphas, DoRA's magnitudes, biases.

Their files hold no ``alpha`` tensors: ``peft_config`` says where the alphas are.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

import torch
from torch import Tensor

from lycoris_ext.formats.keys import PEFT
from lycoris_ext.formats.peft_config import Configs, Strength

#: Our name for the bias of LoRA's left factor until it becomes ``diff_b``.
_BIAS = "lora_up.bias"
#: The name of DoRA's magnitudes of output channels: (out,), for convolutions (1, out, 1, 1).
_MAGNITUDE = "lora_magnitude_vector"


def canonical(key: str, tensor: Tensor) -> Tensor:
    """Reshape DoRA's magnitudes to (out, 1[, 1, 1]), as we store them; return others unchanged."""
    if _MAGNITUDE not in key.split("."):
        return tensor
    return tensor.reshape(-1, *[1] * max(1, tensor.ndim - 1))


def apply_config(layers: dict[str, dict[str, Tensor]], metadata: Mapping[str, str]) -> None:
    """Add the alphas of PEFT's or diffusers' config to the layers, in place, as tensors.

    A layer that has an ``alpha`` already keeps it. With ``use_rslora`` PEFT divides by the square
    root of the rank; the alpha that is added is so much larger that alpha / rank gives the same
    scale. PEFT scales a LoKr of two whole matrices, too, although such a file has no rank; there
    the scale is multiplied into ``lokr_w2``. It also scales the bias of ``lora_B``, which becomes
    an update of the layer's bias (``diff_b``), as ComfyUI and LyCORIS store it.

    Args:
        layers: name of the layer in the file -> our name of the tensor -> tensor.
        metadata: of the file, with PEFT's config under ``CONFIG_KEY``.

    Raises:
        FormatError: the config is no JSON object, or its alphas are no numbers.
    """
    configs = Configs(metadata)
    for layer, tensors in layers.items():
        strength = configs.of_layer(layer.removeprefix(PEFT))
        if strength.alpha is not None and "alpha" not in tensors:
            _add_alpha(tensors, strength.alpha, strength)
        rank = _rank(tensors)
        if _BIAS in tensors and rank:
            scale = float(tensors["alpha"]) / rank if "alpha" in tensors else 1.0
            tensors["diff_b"] = tensors.pop(_BIAS) * scale


def _rank(tensors: Mapping[str, Tensor]) -> int:
    """Return the rank of a LoRA; 0 if the layer is none or its tensor is damaged."""
    down = tensors.get("lora_down.weight")
    return 0 if down is None or not down.ndim else int(down.shape[0])


def _add_alpha(tensors: dict[str, Tensor], alpha: float, strength: Strength) -> None:
    rank = _rank(tensors)
    if strength.rslora and rank:
        alpha *= sqrt(rank)
    if {"lokr_w1", "lokr_w2"} <= tensors.keys() and strength.rank is not None:
        tensors["lokr_w2"] = tensors["lokr_w2"] * (alpha / strength.rank)
    tensors["alpha"] = torch.tensor(alpha)
