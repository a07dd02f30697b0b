"""(IA)^3: scales the channels of the frozen weight, W' = diag(1 + w) W or W diag(1 + w).

Source: (IA)^3, Liu et al. 2022, arXiv:2205.05638; the layout is LyCORIS's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from lycoris_ext.algorithms.base import Algorithm, Plan
from lycoris_ext.algorithms.parts import Factor, Part, Raw, normal
from lycoris_ext.algorithms.registry import register
from lycoris_ext.functional import Delta, Diagonal, FrozenLayer, InputMap, LayerSpec, OutputMap
from lycoris_ext.options import Section, option

_OUTPUT, _INPUT = range(2)


@dataclass(frozen=True, init=False)
class IA3Options(Section):
    """The options of (IA)^3."""

    train_on_input: bool = option(
        False, "Scale the input channels of each layer, instead of its output channels."
    )


@register
class IA3(Algorithm):
    """(IA)^3 on output or input channels.

    A file holds the constant ``on_input``, because the shapes of a square layer do not show which.
    """

    name = "ia3"
    needs_base = True
    Options = IA3Options
    stores_alpha = False
    parts: ClassVar = {
        "w": (
            Raw(Factor("weight", "1conv out 1k", normal(0.1), zero=True)),
            Raw(Factor("weight", "1conv in 1k", normal(0.1), zero=True)),
        ),
        "side": (
            Raw(Factor("on_input", "", constant=_OUTPUT)),
            Raw(Factor("on_input", "", constant=_INPUT)),
        ),
    }

    @classmethod
    def choose(cls, layer: LayerSpec, rank: int, alpha: float, options: IA3Options) -> Plan:
        side = _INPUT if options.train_on_input else _OUTPUT
        return Plan(cls, layer, (side, side), rank, alpha, (layer, layer))

    @classmethod
    def shown_options(cls, plan: Plan) -> dict[str, Any]:
        return {"train_on_input": True} if plan.chosen[0] == _INPUT else {}

    @classmethod
    def allows(cls, chosen: tuple[int, ...]) -> bool:
        return chosen[0] == chosen[1]

    @classmethod
    def delta(cls, parts: Mapping[str, Part], plan: Plan, base: FrozenLayer | None) -> Delta:
        weight = parts["w"]
        assert isinstance(weight, Tensor) and base is not None
        form = InputMap if plan.chosen[0] == _INPUT else OutputMap
        return form(plan.layer, plan.scale, base, Diagonal(weight.flatten()))
