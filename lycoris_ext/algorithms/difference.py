"""What full and norm have in common: the updates of the weight and of the bias, as they are."""

from __future__ import annotations

from lycoris_ext.algorithms.base import Algorithm, Plan
from lycoris_ext.algorithms.parts import Absent, Alternative, Factor, Raw, normal
from lycoris_ext.functional import LayerSpec
from lycoris_ext.options import Section


class Difference(Algorithm):
    """Base of both; their parts are the weight's update and ``of_bias``, which a layer without a
    bias is not given."""

    stores_alpha = False
    adds = True

    @classmethod
    def choose(cls, layer: LayerSpec, rank: int, alpha: float, options: Section) -> Plan:
        return Plan(cls, layer, (0, int(not layer.has_bias)), rank, alpha, (layer, layer))


def of_bias(key: str) -> tuple[Alternative, ...]:
    """The update of the bias, or none."""
    return Raw(Factor(key, "out", normal(0.1), zero=True)), Absent()
