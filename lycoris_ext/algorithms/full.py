"""Full: trains the whole updates of weight and bias, without factors; docs/algorithms/full.md.

The layout is LyCORIS's ("native" fine-tuning stored as a difference).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from lycoris_ext.algorithms.base import Plan
from lycoris_ext.algorithms.difference import Difference, of_bias
from lycoris_ext.algorithms.parts import Factor, Part, Whole, kaiming
from lycoris_ext.algorithms.registry import register
from lycoris_ext.functional import Delta, Dense, FrozenLayer


@register
class Full(Difference):
    """Trains a difference to the whole weight and, where the layer has one, to its bias."""

    name = "full"
    parts: ClassVar = {
        "w": (Whole(Factor("diff", "out in k", kaiming, zero=True)),),
        "b": of_bias("diff_b"),
    }

    @classmethod
    def delta(cls, parts: Mapping[str, Part], plan: Plan, base: FrozenLayer | None) -> Delta:
        weight, bias = parts["w"], parts["b"]
        assert isinstance(weight, Dense) and (bias is None or isinstance(bias, Tensor))
        return Dense(plan.layer, plan.scale, weight.weight, bias)
