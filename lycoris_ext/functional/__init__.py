"""Pure tensor maths: layers as functions, and the exact structures of a weight update."""

from lycoris_ext.functional.base import Base
from lycoris_ext.functional.chained import Hadamard, LowRank
from lycoris_ext.functional.delta import Delta, Dense, Leafy
from lycoris_ext.functional.dora import Dora, weight_norms
from lycoris_ext.functional.factorization import (
    butterfly_factorization,
    factorization,
    smallest_butterfly,
)
from lycoris_ext.functional.gated import Gated
from lycoris_ext.functional.kron import Kron
from lycoris_ext.functional.layer import LayerSpec
from lycoris_ext.functional.maps import ChannelMap, Diagonal, InputMap, OutputMap, Sum, Thin
from lycoris_ext.functional.norm import NORMS, Affine, NormSpec, spec_of
from lycoris_ext.functional.orthogonal import BlockRotation, Butterfly, Rescaled, cayley

__all__ = [
    "NORMS",
    "Affine",
    "Base",
    "BlockRotation",
    "Butterfly",
    "ChannelMap",
    "Delta",
    "Dense",
    "Diagonal",
    "Dora",
    "Gated",
    "Hadamard",
    "InputMap",
    "Kron",
    "LayerSpec",
    "Leafy",
    "LowRank",
    "NormSpec",
    "OutputMap",
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
