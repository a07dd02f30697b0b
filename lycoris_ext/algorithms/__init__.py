"""One file per algorithm: what is stored, and one formula."""

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
from lycoris_ext.algorithms.base import (
    Algorithm,
    Plan,
    algorithm,
    algorithm_names,
    algorithm_options,
    register,
    unregister,
)
from lycoris_ext.algorithms.detection import detect

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
