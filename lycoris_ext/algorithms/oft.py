"""Diag-OFT: a block-diagonal rotation of the output channels; docs/algorithms/diag-oft.md.

Source: OFT, Qiu et al. 2023, arXiv:2306.07280; the layout and the order are LyCORIS's. Its version
2.0 stored the rotation itself (``oft_diag``), with the factors of outputs multiplied in.
"""

from __future__ import annotations

from math import isqrt
from typing import ClassVar

import torch
from torch import Tensor

from lycoris_ext.algorithms.base import Plan, Sizes
from lycoris_ext.algorithms.orthogonal import Orthogonal
from lycoris_ext.algorithms.parts import Factor, Raw
from lycoris_ext.algorithms.registry import register
from lycoris_ext.functional import BlockRotation, ChannelMap, LayerSpec, cayley, factorization


@register
class DiagOFT(Orthogonal):
    """Diag-OFT; ``network_dim`` is the size of a block, or their number if that is smaller."""

    name = "diag-oft"
    rule = "at least 2, at most the root of the outputs"
    parts: ClassVar = {
        "blocks": (
            Raw(Factor("oft_blocks", "blocks block block")),
            Raw(Factor("oft_diag", "blocks block block")),
        ),
        "rescale": Orthogonal.rescale,
    }

    @classmethod
    def allows(cls, chosen: tuple[int, ...]) -> bool:
        return chosen != (1, 1)

    @classmethod
    def sizes(cls, layer: LayerSpec, largest: int) -> Sizes | None:
        width = layer.out_features
        block, blocks = factorization(width, largest)
        if block == 1:  # 4 outputs in 4 blocks: a rotation needs at least 2 channels
            block, blocks = factorization(width, min(largest, isqrt(width)))
        return None if block == 1 else {"blocks": blocks, "block": block}

    @classmethod
    def smallest(cls, layer: LayerSpec) -> int | None:
        width = layer.out_features
        return next((size for size in range(2, isqrt(width) + 1) if width % size == 0), None)

    @classmethod
    def rotation(cls, blocks: Tensor, plan: Plan) -> ChannelMap:
        blocks = blocks.mT  # files store the rotation's transpose
        if plan.chosen[0]:
            eye = torch.eye(blocks.shape[-1], dtype=blocks.dtype, device=blocks.device)
            return BlockRotation(blocks - eye)
        return BlockRotation(cayley(blocks, cls.limit(plan)))
