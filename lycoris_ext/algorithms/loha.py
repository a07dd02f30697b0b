"""LoHa: delta = (w1_a @ w1_b) o (w2_a @ w2_b); docs/algorithms/loha.md.

Source: FedPara, Hyeon-Woo et al. 2021, arXiv:2108.06098, Prop. 1; LyCORIS, arXiv:2309.14859.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from lycoris_ext.algorithms.base import Algorithm, Plan
from lycoris_ext.algorithms.dora import DoraOptions
from lycoris_ext.algorithms.parts import Core, Factor, Part, Product, TuckerOptions, normal
from lycoris_ext.algorithms.registry import register
from lycoris_ext.functional import Delta, FrozenLayer, Hadamard, LowRank


def _side(number: int, zero: bool) -> tuple[Product, Core]:
    """Return the alternatives of one side of the Hadamard product: without a core, and with one.

    With a core the left factor is stored transposed, as (rank, out).
    """
    left, right = f"hada_w{number}_a", f"hada_w{number}_b"
    return (
        Product(
            Factor(left, "out rank", normal(0.1), zero),
            Factor(right, "rank in*k", normal(1.0)),
        ),
        Core(
            Factor(left, "rank out", normal(0.1), zero),
            Factor(f"hada_t{number}", "rank rank k", normal(0.1)),
            Factor(right, "rank in", normal(1.0)),
        ),
    )


@dataclass(frozen=True, init=False)
class LoHaOptions(DoraOptions, TuckerOptions):
    """The options of LoHa."""


@register
class LoHa(Algorithm):
    """LoHa: the element-wise product of two low-rank products."""

    name = "loha"
    Options = LoHaOptions
    parts: ClassVar = {"w1": _side(1, zero=False), "w2": _side(2, zero=True)}

    @classmethod
    def allows(cls, chosen: tuple[int, ...]) -> bool:
        return len(set(chosen)) == 1  # both sides with a core, or neither

    @classmethod
    def delta(cls, parts: Mapping[str, Part], plan: Plan, base: FrozenLayer | None) -> Delta:
        first, second = parts["w1"], parts["w2"]
        assert isinstance(first, LowRank) and isinstance(second, LowRank)
        return Hadamard(plan.layer, plan.scale, first, second)
