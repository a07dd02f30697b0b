"""Pure tensor maths: layers as functions, and the exact structures of a weight update."""

from lycoris_ext.functional.delta import Delta, Dense, Hadamard, LowRank
from lycoris_ext.functional.factorization import factorization
from lycoris_ext.functional.kron import Kron
from lycoris_ext.functional.layer import LayerSpec

__all__ = ["Delta", "Dense", "Hadamard", "Kron", "LayerSpec", "LowRank", "factorization"]
