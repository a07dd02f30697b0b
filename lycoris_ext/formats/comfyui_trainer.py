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


def canonical(
    layer: str, tensors: dict[str, Tensor], metadata: Mapping[str, str]
) -> dict[str, Tensor]:
    """Return a layer's tensors as LyCORIS stores them; those of other programs as they are.

    The update of a normalisation is called ``diff`` and ``diff_b``, as that of any other layer. The
    constraint of an OFT is always 1 and is the largest norm itself, which LyCORIS multiplies by the
    number of outputs.

    Args:
        layer: the layer's name in the file.
        tensors: name of the tensor -> tensor.
        metadata: of the file.
    """
    if "diff" in tensors and tensors["diff"].ndim == 1 and "w_norm" not in tensors:
        return {_NORM.get(name, name): tensor for name, tensor in tensors.items()}
    blocks, alpha = tensors.get("oft_blocks"), tensors.get("alpha")
    if blocks is None or alpha is None or blocks.ndim != 3 or _OTHERS in metadata:
        return tensors
    if not layer.startswith(f"{DENOISER}.") or float(alpha) != 1.0:
        return tensors
    outputs = max(blocks.shape[0] * blocks.shape[1], 1)
    return {**tensors, "alpha": torch.tensor(1.0 / outputs)}
