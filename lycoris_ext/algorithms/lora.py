"""LoRA and LoCon: delta = up @ down; docs/algorithms/lora.md.

Source: LoRA, Hu et al. 2021, arXiv:2106.09685; on convolutions (LoCon) and with a Tucker core
LyCORIS, Yeh et al. 2023, arXiv:2309.14859.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lycoris_ext.algorithms.base import Algorithm, Plan, register
from lycoris_ext.algorithms.parts import Core, Factor, Part, Product, kaiming
from lycoris_ext.functional import Base, Delta, LowRank

_UP = Factor("lora_up.weight", "out rank 1k", kaiming, zero=True)


@register
class LoRA(Algorithm):
    """On convolutions this is LoCon; the two differ only in which layers are given a rank."""

    name = "lora"
    takes_dora = True
    parts: ClassVar = {
        "w": (
            Product(_UP, Factor("lora_down.weight", "rank in k", kaiming)),
            Core(
                _UP,
                Factor("lora_mid.weight", "rank rank k", kaiming),
                Factor("lora_down.weight", "rank in 1k", kaiming),
            ),
        ),
    }

    @classmethod
    def delta(cls, parts: Mapping[str, Part], plan: Plan, base: Base | None) -> Delta:
        weight = parts["w"]
        assert isinstance(weight, LowRank)
        return weight.scaled(plan.scale)
