"""GLoRA: delta = W a1 a2 + b1 b2; docs/algorithms/glora.md.

One low-rank product is applied to the input of the frozen weight W, another one is added to W.

Source: GLoRA, Chavan et al. 2023, arXiv:2306.07967; the layout is LyCORIS's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lycoris_ext.algorithms.base import Algorithm, Plan, Sizes
from lycoris_ext.algorithms.parts import Core, Factor, Part, Product, TuckerOptions, kaiming
from lycoris_ext.algorithms.registry import register
from lycoris_ext.functional import Delta, FrozenLayer, InputMap, LayerSpec, LowRank, Sum, Thin


@register
class GLoRA(Algorithm):
    """GLoRA; the product a1 a2 is (in, in): it mixes the input channels and has no kernel."""

    name = "glora"
    needs_base = True
    Options = TuckerOptions
    parts: ClassVar = {
        "a": (
            Product(
                Factor("a1.weight", "in rank 1k", kaiming),
                Factor("a2.weight", "rank in 1k", kaiming, zero=True),
            ),
        ),
        "b": (
            Product(
                Factor("b1.weight", "out rank 1k", kaiming),
                Factor("b2.weight", "rank in k", kaiming, zero=True),
            ),
            Core(
                Factor("b1.weight", "out rank 1k", kaiming),
                Factor("bm.weight", "rank rank k", kaiming),
                Factor("b2.weight", "rank in 1k", kaiming, zero=True),
            ),
        ),
    }

    @classmethod
    def choose(cls, layer: LayerSpec, rank: int, alpha: float, options: TuckerOptions) -> Plan:
        core = int(options.wants_core(layer))
        return Plan(cls, layer, (0, core), rank, alpha, cls.part_layers(layer, ()))

    @classmethod
    def part_layers(cls, layer: LayerSpec, sizes: tuple[Sizes, ...]) -> tuple[LayerSpec, ...]:
        ones = (1,) * len(layer.kernel)
        mix = LayerSpec(layer.in_features, layer.in_features, ones, ones, (0,) * len(ones), ones)
        return mix, layer

    @classmethod
    def delta(cls, parts: Mapping[str, Part], plan: Plan, base: FrozenLayer | None) -> Delta:
        mix, added = parts["a"], parts["b"]
        assert isinstance(mix, LowRank) and isinstance(added, LowRank) and base is not None
        before = InputMap(plan.layer, 1.0, base, Thin(mix.up, mix.down.flatten(1)))
        return Sum(plan.layer, plan.scale, (before, added))
