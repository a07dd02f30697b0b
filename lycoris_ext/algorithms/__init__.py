"""The algorithms (LoRA, LoHa, LoKr, ...), one file each: the tensors that are stored, a formula."""

from lycoris_ext.algorithms import (  # noqa: F401 - importing registers them
    boft,
    full,
    glora,
    ia3,
    loha,
    lokr,
    lora,
    norm,
    oft,
    tlora,
)
from lycoris_ext.algorithms.base import Algorithm, Plan
from lycoris_ext.algorithms.detection import detect
from lycoris_ext.algorithms.registry import (
    algorithm,
    algorithm_names,
    algorithm_options,
    register,
    unregister,
)

__all__ = [
    "Algorithm",
    "Plan",
    "algorithm",
    "algorithm_names",
    "algorithm_options",
    "detect",
    "register",
    "unregister",
]
