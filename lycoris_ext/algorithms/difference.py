"""The common base of full and norm, which store updates of weight and bias without factors."""

from __future__ import annotations

from lycoris_ext.algorithms.base import Algorithm, Plan
from lycoris_ext.algorithms.parts import Absent, Alternative, Factor, Raw, normal
from lycoris_ext.functional import LayerSpec
from lycoris_ext.options import Section


class Difference(Algorithm):
    """Base of ``Full`` and ``Norm``: the parts are the update of the weight, then ``of_bias``.

    For a layer without a bias only the first is stored.
    """

    stores_alpha = False
    adds = True

    @classmethod
    def choose(cls, layer: LayerSpec, rank: int, alpha: float, options: Section) -> Plan:
        return Plan(cls, layer, (0, int(not layer.has_bias)), rank, alpha, (layer, layer))


def of_bias(key: str) -> tuple[Alternative, ...]:
    """Return the alternatives of the bias' update: stored under this key, (out,), or absent."""
    return Raw(Factor(key, "out", normal(0.1), zero=True)), Absent()
