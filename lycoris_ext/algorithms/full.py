"""Full: the update of the weight as it is, and of the bias; docs/algorithms/full.md.

The layout is LyCORIS's ("native" fine-tuning stored as a difference).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from lycoris_ext.algorithms.base import Algorithm, Options, Plan, register
from lycoris_ext.algorithms.parts import Absent, Factor, Part, Raw, Whole, kaiming, normal
from lycoris_ext.functional import Base, Delta, Dense, LayerSpec

_WITH_BIAS, _WITHOUT_BIAS = range(2)


@register
class Full(Algorithm):
    """A layer without a bias is given none."""

    name = "full"
    stores_alpha = False
    adds = True
    parts: ClassVar = {
        "w": (Whole(Factor("diff", "out in k", kaiming, zero=True)),),
        "b": (Raw(Factor("diff_b", "out", normal(0.1), zero=True)), Absent()),
    }

    @classmethod
    def choose(cls, layer: LayerSpec, rank: int, alpha: float, options: Options) -> Plan:
        bias = _WITH_BIAS if layer.has_bias else _WITHOUT_BIAS
        return Plan(cls, layer, (0, bias), rank, alpha, (layer, layer))

    @classmethod
    def delta(cls, parts: Mapping[str, Part], plan: Plan, base: Base | None) -> Delta:
        weight, bias = parts["w"], parts["b"]
        assert isinstance(weight, Dense) and (bias is None or isinstance(bias, Tensor))
        return Dense(plan.layer, plan.scale, weight.weight, bias)
