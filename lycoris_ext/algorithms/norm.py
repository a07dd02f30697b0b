"""Norm: trains the weight and the bias of normalisations; docs/algorithms/norm.md.

The layout is LyCORIS's (train_norm).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from lycoris_ext.algorithms.base import Plan
from lycoris_ext.algorithms.difference import Difference, of_bias
from lycoris_ext.algorithms.parts import Factor, Part, Raw, normal
from lycoris_ext.algorithms.registry import register
from lycoris_ext.functional import Affine, Delta, FrozenLayer


@register
class Norm(Difference):
    """Updates of LayerNorm, GroupNorm and RMSNorm; no other algorithm adapts these layers."""

    name = "norm"
    of_norms = True
    parts: ClassVar = {
        "w": (Raw(Factor("w_norm", "out", normal(0.1), zero=True)),),
        "b": of_bias("b_norm"),
    }

    @classmethod
    def delta(cls, parts: Mapping[str, Part], plan: Plan, base: FrozenLayer | None) -> Delta:
        weight, bias = parts["w"], parts["b"]
        assert isinstance(weight, Tensor) and (bias is None or isinstance(bias, Tensor))
        return Affine(plan.layer, plan.scale, weight, bias)
