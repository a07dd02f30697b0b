"""What ``--network_args`` would say of an adapter file that a training continues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

from lycoris_ext.algorithms import algorithm_options
from lycoris_ext.formats.metadata import json_object
from lycoris_ext.network import Network
from lycoris_ext.network.sd_scripts_names import network_options

#: Options that decide which layers an adapter has.
_ABOUT_LAYERS = ("preset", "include", "exclude", "train_norm")

Value = TypeVar("Value", bound=Hashable)


def arguments_told(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the arguments in a file's metadata that hold for every run with it: name -> text.

    They are about the choice of layers, and the algorithm's own. Dropouts and learning rates are
    those of one run.
    """
    known = network_options()
    kept = {*_ABOUT_LAYERS, *(option.name for option in algorithm_options())}
    return {
        known[name].name: str(value)
        for name, value in json_object(metadata.get("ss_network_args", "")).items()
        if name in known and known[name].name in kept and value is not None
    }


def arguments_measured(network: Network) -> dict[str, str]:
    """Return the arguments that the tensors of a loaded network tell: name -> text.

    Where layers differ, those of most layers count.
    """
    plans = [layer.plan for layer in network.layers.values()]
    weights = [plan for plan in plans if not plan.layer.is_norm] or plans
    algo = _most(plan.algorithm.name for plan in weights)
    of_algo = [plan for plan in weights if plan.algorithm.name == algo]
    sizes = [(plan.rank, plan.alpha) for plan in of_algo if plan.layer.is_spatial]
    found: dict[str, object] = {"algo": algo}
    if not sizes:
        found["conv_dim"] = 0
    elif any(plan.has_rank for plan in of_algo):
        found["conv_dim"], found["conv_alpha"] = _most(sizes)
    for plan in of_algo:
        found |= plan.shown_options()
    return {name: str(value) for name, value in found.items()}


def _most(values: Iterable[Value]) -> Value:
    return Counter(values).most_common(1)[0][0]
