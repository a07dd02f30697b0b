"""LoKr: delta = w1 (x) w2, a Kronecker product; docs/algorithms/lokr.md.

Source: LyCORIS, Yeh et al. 2023, arXiv:2309.14859; KronA, Edalati et al. 2022, arXiv:2212.10650.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from lycoris_ext.algorithms.base import Algorithm, Plan, Sizes
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
from lycoris_ext.algorithms.registry import register
from lycoris_ext.functional import Delta, FrozenLayer, Kron, LayerSpec, Recomputed, factorization
from lycoris_ext.options import option

_WHOLE, _PRODUCT, _CORE = range(3)
_RIGHT = "lokr_w2_b"


@dataclass(frozen=True, init=False)
class LoKrOptions(DoraOptions, TuckerOptions):
    """The options of LoKr: the sizes of the update's two Kronecker factors, and which of them are
    low-rank products; also those of DoRA, and use_tucker."""

    factor: int = option(
        -1,
        "How the inputs and outputs of a layer are split between the two factors of the Kronecker "
        "product: one factor has this many, or the largest smaller number that divides the "
        "layer's; -1: both factors are as equal as possible.",
        low=1,
        also=(-1,),
    )
    unbalanced_factorization: bool = option(
        False,
        "Give the first factor of the Kronecker product the larger number of outputs, instead of "
        "the smaller one.",
    )
    decompose_both: bool = option(
        False,
        "Also store the first factor of the Kronecker product as a low-rank product, if that takes "
        "fewer numbers; usually only the second factor is stored so.",
    )
    full_matrix: bool = option(
        False,
        "Store both factors of the Kronecker product as full matrices; decompose_both and the rank "
        "then have no effect.",
    )


@register
class LoKr(Algorithm):
    """LoKr: the Kronecker product of a small matrix w1 and a larger one, w2, with the kernel.

    Usually w2 is stored as a low-rank product and w1 as a full matrix.
    """

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
        first, second = _WHOLE, _WHOLE  # a product only if it takes fewer numbers than the matrix
        if options.decompose_both and rank < max(left, width) / 2 and not options.full_matrix:
            first = _PRODUCT
        if rank < max(right, depth) / 2 and not options.full_matrix:
            second = _CORE if options.wants_core(layer) else _PRODUCT
        if first == second == _WHOLE:
            alpha = rank  # which every program reads as a scale of 1
        part_layers = cls.part_layers(
            layer, ({"out": left, "in": width}, {"out": right, "in": depth})
        )
        return Plan(cls, layer, (first, second), rank, alpha, part_layers)

    @classmethod
    def shown_options(cls, plan: Plan) -> dict[str, Any]:
        first, second = plan.part_layers
        shown = super().shown_options(plan)
        if first.out_features > second.out_features:
            shown["unbalanced_factorization"] = True
        return {**shown, "decompose_both": True} if plan.chosen[0] == _PRODUCT else shown

    @classmethod
    def matches_split(cls, plan: Plan, size: int) -> bool:
        sizes = sorted(layer.out_features for layer in plan.part_layers)
        return list(factorization(plan.layer.out_features, size)) == sizes

    @classmethod
    def part_layers(cls, layer: LayerSpec, sizes: tuple[Sizes, ...]) -> tuple[LayerSpec, ...]:
        first, second = sizes
        if layer.is_spatial and first["in"] * second.get("in", 0) == layer.fan_in:
            # ComfyUI's trainer splits the weight as a matrix, the kernel among its columns.
            return LayerSpec(first["out"], first["in"]), LayerSpec(second["out"], second["in"])
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
