"""LoKr: delta = w1 (x) w2, a Kronecker product; docs/algorithms/lokr.md.

Source: LyCORIS, Yeh et al. 2023, arXiv:2309.14859; KronA, Edalati et al. 2022, arXiv:2212.10650.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from lycoris_ext.algorithms.base import Algorithm, Options, Plan, Sizes, register
from lycoris_ext.algorithms.parts import Core, Factor, Part, Product, Whole, kaiming
from lycoris_ext.functional import Delta, FrozenLayer, Kron, LayerSpec, Recomputed, factorization

_WHOLE, _PRODUCT, _CORE = range(3)
_RIGHT = "lokr_w2_b"


@register
class LoKr(Algorithm):
    """The first factor, (l, m), is small; the second, (k, n) with the kernel, carries the rank."""

    name = "lokr"
    takes_dora = True
    splits = True
    split_by = "factor"
    reads = frozenset(
        {"use_tucker", "factor", "unbalanced_factorization", "decompose_both", "full_matrix"}
    )
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
    def choose(cls, layer: LayerSpec, rank: int, alpha: float, options: Options) -> Plan:
        left, right = factorization(layer.out_features, options.factor)
        if options.unbalanced_factorization:
            left, right = right, left
        width, depth = factorization(layer.in_features, options.factor)
        first, second = _WHOLE, _WHOLE  # a product only where it is the smaller of the two
        if options.decompose_both and rank < max(left, width) / 2 and not options.full_matrix:
            first = _PRODUCT
        if rank < max(right, depth) / 2 and not options.full_matrix:
            second = _CORE if options.use_tucker and layer.is_spatial else _PRODUCT
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
