"""What ComfyUI's own trainer (its node Train LoRA) stores in another way than LyCORIS.

Its updates of biases and its LoKr need no translation: ``algorithms`` reads them as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lycoris_ext.formats.keys import DENOISER

_NORM = {"diff": "w_norm", "diff_b": "b_norm"}
#: A metadata field of all other trainers that may write these keys, ours among them.
_OTHERS = "ss_network_module"

Layers = Mapping[str, dict[str, Tensor]]


def canonical(layers: Layers, metadata: Mapping[str, str]) -> dict[str, dict[str, Tensor]]:
    """Return a file's layers as LyCORIS stores them; those of other programs as they are.

    The update of a normalisation is called ``diff`` and ``diff_b``, as that of any other layer. The
    constraint of an OFT is always 1 and is the largest norm itself, which LyCORIS multiplies by the
    number of outputs.

    Args:
        layers: layer's name in the file -> name of the tensor -> tensor.
        metadata: of the file.
    """
    # The trainer always trains the biases, too, and writes no metadata.
    is_its = _OTHERS not in metadata and any("diff_b" in tensors for tensors in layers.values())
    return {
        layer: _constrained(_named(tensors))
        if is_its and layer.startswith(f"{DENOISER}.")
        else _named(tensors)
        for layer, tensors in layers.items()
    }


def _named(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if "diff" in tensors and tensors["diff"].ndim == 1 and "w_norm" not in tensors:
        return {_NORM.get(name, name): tensor for name, tensor in tensors.items()}
    return tensors


def _constrained(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    blocks, alpha = tensors.get("oft_blocks"), tensors.get("alpha")
    if blocks is None or alpha is None or blocks.ndim != 3 or float(alpha) != 1.0:
        return tensors
    outputs = max(blocks.shape[0] * blocks.shape[1], 1)
    return {**tensors, "alpha": torch.tensor(1.0 / outputs)}
