"""Norm: the weight and the bias of a normalisation; docs/algorithms/norm.md.

The layout is LyCORIS's (train_norm).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from lycoris_ext.algorithms.base import Algorithm, Options, Plan, register
from lycoris_ext.algorithms.parts import Absent, Factor, Part, Raw, normal
from lycoris_ext.functional import Affine, Base, Delta, LayerSpec

_WITH_BIAS, _WITHOUT_BIAS = range(2)


@register
class Norm(Algorithm):
    """The only algorithm for LayerNorm, GroupNorm and RMSNorm, and for nothing else."""

    name = "norm"
    of_norms = True
    stores_alpha = False
    adds = True
    parts: ClassVar = {
        "w": (Raw(Factor("w_norm", "out", normal(0.1), zero=True)),),
        "b": (Raw(Factor("b_norm", "out", normal(0.1), zero=True)), Absent()),
    }

    @classmethod
    def choose(cls, layer: LayerSpec, rank: int, alpha: float, options: Options) -> Plan:
        bias = _WITH_BIAS if layer.has_bias else _WITHOUT_BIAS
        return Plan(cls, layer, (0, bias), rank, alpha, (layer, layer))

    @classmethod
    def delta(cls, parts: Mapping[str, Part], plan: Plan, base: Base | None) -> Delta:
        weight, bias = parts["w"], parts["b"]
        assert isinstance(weight, Tensor) and (bias is None or isinstance(bias, Tensor))
        return Affine(plan.layer, plan.scale, weight, bias)
