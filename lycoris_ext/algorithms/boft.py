"""BOFT: a rotation of the output channels that is a product of block-diagonal rotations.

Each stage rotates blocks of channels, and each stage joins channels that are farther apart, as in a
butterfly network; docs/algorithms/boft.md.

Source: BOFT, Liu et al. 2023, arXiv:2311.06243; the layout and the order are LyCORIS's.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from lycoris_ext.algorithms.base import Plan, Sizes
from lycoris_ext.algorithms.orthogonal import Orthogonal
from lycoris_ext.algorithms.parts import Factor, Raw
from lycoris_ext.algorithms.registry import register
from lycoris_ext.functional import (
    Butterfly,
    ChannelMap,
    LayerSpec,
    butterfly_factorization,
    cayley,
    smallest_butterfly,
)


@register
class BOFT(Orthogonal):
    """BOFT; ``network_dim`` is the largest size of a block."""

    name = "boft"
    rule = "an even size, and a power of two of them"
    parts: ClassVar = {
        "blocks": (Raw(Factor("oft_blocks", "stages blocks block block")),),
        "rescale": Orthogonal.rescale,
    }

    @classmethod
    def sizes(cls, layer: LayerSpec, largest: int) -> Sizes | None:
        split = butterfly_factorization(layer.out_features, largest)
        if split is None:
            return None
        block, blocks = split
        return {"stages": blocks.bit_length(), "blocks": blocks, "block": block}

    @classmethod
    def smallest(cls, layer: LayerSpec) -> int | None:
        return smallest_butterfly(layer.out_features)

    @classmethod
    def flaw(cls, sizes: tuple[Sizes, ...]) -> str | None:
        stages, blocks, block = (sizes[0][axis] for axis in ("stages", "blocks", "block"))
        if block % 2 == 0 and blocks & (blocks - 1) == 0 and 1 <= stages <= blocks.bit_length():
            return None
        return f"oft_blocks of {stages} stages of {blocks} blocks of {block} are no butterfly"

    @classmethod
    def rotation(cls, blocks: Tensor, plan: Plan) -> ChannelMap:
        return Butterfly(cayley(blocks, cls.limit(plan)))
