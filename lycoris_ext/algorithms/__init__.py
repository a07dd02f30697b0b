"""One file per algorithm: what is stored, and one formula."""

from lycoris_ext.algorithms import loha, lora  # noqa: F401 - importing registers them
from lycoris_ext.algorithms.base import Algorithm, Plan, algorithm, algorithm_names, detect

__all__ = ["Algorithm", "Plan", "algorithm", "algorithm_names", "detect"]
