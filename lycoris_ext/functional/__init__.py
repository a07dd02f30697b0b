"""Tensor maths without models or files: what a layer computes, and what adapters add to its weight.

A ``Delta`` is the update of one weight, kept as the factors that an algorithm trains.
"""

from lycoris_ext.functional.delta import Delta, Dense, Recomputed
from lycoris_ext.functional.dora import Dora, weight_norms
from lycoris_ext.functional.factorization import (
    butterfly_factorization,
    factorization,
    smallest_butterfly,
)
from lycoris_ext.functional.frozen_layer import FrozenLayer
from lycoris_ext.functional.gated import Gated
from lycoris_ext.functional.hadamard import Hadamard
from lycoris_ext.functional.inputs_first import InputsFirst
from lycoris_ext.functional.kron import Kron
from lycoris_ext.functional.layer import LayerSpec
from lycoris_ext.functional.low_rank import LowRank
from lycoris_ext.functional.maps import (
    BiasUpdate,
    ChannelMap,
    Diagonal,
    InputMap,
    OutputMap,
    Sum,
    Thin,
)
from lycoris_ext.functional.normalization import NORMS, Affine, NormSpec
from lycoris_ext.functional.orthogonal import BlockRotation, Butterfly, Rescaled, cayley
from lycoris_ext.functional.specs import spec_of

__all__ = [
    "NORMS",
    "Affine",
    "BiasUpdate",
    "BlockRotation",
    "Butterfly",
    "ChannelMap",
    "Delta",
    "Dense",
    "Diagonal",
    "Dora",
    "FrozenLayer",
    "Gated",
    "Hadamard",
    "InputMap",
    "InputsFirst",
    "Kron",
    "LayerSpec",
    "LowRank",
    "NormSpec",
    "OutputMap",
    "Recomputed",
    "Rescaled",
    "Sum",
    "Thin",
    "butterfly_factorization",
    "cayley",
    "factorization",
    "smallest_butterfly",
    "spec_of",
    "weight_norms",
]
