"""LoKr: delta = w1 (x) w2, a Kronecker product; docs/algorithms/lokr.md.

Source: LyCORIS, Yeh et al. 2023, arXiv:2309.14859; KronA, Edalati et al. 2022, arXiv:2212.10650.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from lycoris_ext.algorithms.base import Algorithm, Plan, Sizes, register
from lycoris_ext.algorithms.dora import DoraOptions
from lycoris_ext.algorithms.parts import (
    Core,
    Factor,
    Part,
    Product,
    TuckerOptions,
    Whole,
    kaiming,
)
from lycoris_ext.functional import Delta, FrozenLayer, Kron, LayerSpec, Recomputed, factorization
from lycoris_ext.options import option

_WHOLE, _PRODUCT, _CORE = range(3)
_RIGHT = "lokr_w2_b"


@dataclass(frozen=True, init=False)
class LoKrOptions(DoraOptions, TuckerOptions):
    """Options of LoKr: how the weight is split into two factors, and how each is stored."""

    factor: int = option(
        -1,
        "How a weight's widths are split between the two factors of the Kronecker product: one of "
        "them has this width, or the largest below it that divides the layer's; -1: both are as "
        "equal as possible.",
        low=1,
        also=(-1,),
    )
    unbalanced_factorization: bool = option(
        False,
        "Give the larger part of the outputs to the first factor of the Kronecker product, instead "
        "of the smaller part.",
    )
    decompose_both: bool = option(
        False,
        "Store the first factor of the Kronecker product as a product of two thin matrices, too, "
        "where that takes fewer numbers.",
    )
    full_matrix: bool = option(
        False,
        "Store both factors of the Kronecker product as whole matrices, whatever decompose_both "
        "and the rank say.",
    )


@register
class LoKr(Algorithm):
    """The first factor, (l, m), is small; the second, (k, n) with the kernel, carries the rank."""

    name = "lokr"
    Options = LoKrOptions
    splits = True
    split_by = "factor"
    parts: ClassVar = {
        "w1": (
            Whole(Factor("lokr_w1", "out in", kaiming)),
            Product(
                Factor("lokr_w1_a", "out rank", kaiming), Factor("lokr_w1_b", "rank in", kaiming)
            ),
        ),
        "w2": (
            Whole(Factor("lokr_w2", "out in k", kaiming, zero=True)),
            Product(
                Factor("lokr_w2_a", "out rank", kaiming),
                Factor(_RIGHT, "rank in*k", kaiming, zero=True),
            ),
            Core(
                Factor("lokr_w2_a", "rank out", kaiming),
                Factor("lokr_t2", "rank rank k", kaiming),
                Factor(_RIGHT, "rank in", kaiming, zero=True),
            ),
        ),
    }

    @classmethod
    def choose(cls, layer: LayerSpec, rank: int, alpha: float, options: LoKrOptions) -> Plan:
        left, right = factorization(layer.out_features, options.factor)
        if options.unbalanced_factorization:
            left, right = right, left
        width, depth = factorization(layer.in_features, options.factor)
        first, second = _WHOLE, _WHOLE  # a product only where it is the smaller of the two
        if options.decompose_both and rank < max(left, width) / 2 and not options.full_matrix:
            first = _PRODUCT
        if rank < max(right, depth) / 2 and not options.full_matrix:
            second = _CORE if options.wants_core(layer) else _PRODUCT
        if first == second == _WHOLE:
            alpha = rank  # what every reader takes for a scale of 1
        spaces = cls.spaces(layer, ({"out": left, "in": width}, {"out": right, "in": depth}))
        return Plan(cls, layer, (first, second), rank, alpha, spaces)

    @classmethod
    def told(cls, plan: Plan) -> dict[str, Any]:
        first, second = plan.spaces
        told = super().told(plan)
        if first.out_features > second.out_features:
            told["unbalanced_factorization"] = True
        return {**told, "decompose_both": True} if plan.chosen[0] == _PRODUCT else told

    @classmethod
    def splits_so(cls, plan: Plan, size: int) -> bool:
        sizes = sorted(space.out_features for space in plan.spaces)
        return list(factorization(plan.layer.out_features, size)) == sizes

    @classmethod
    def spaces(cls, layer: LayerSpec, sizes: tuple[Sizes, ...]) -> tuple[LayerSpec, ...]:
        first, second = sizes
        area = layer.fan_in // layer.in_features
        depth = second["in"] if "in" in second else second["in*k"] // area
        return (
            LayerSpec(first["out"], first["in"]),
            replace(layer, out_features=second["out"], in_features=depth),
        )

    @classmethod
    def delta(cls, parts: Mapping[str, Part], plan: Plan, base: FrozenLayer | None) -> Delta:
        first, second = parts["w1"], parts["w2"]
        assert isinstance(first, Recomputed) and isinstance(second, Recomputed)
        return Kron(plan.layer, plan.scale, first, second)
