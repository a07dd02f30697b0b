"""Between an adapter file's tensors and the parameters of a network."""

from __future__ import annotations

from collections.abc import Mapping
from math import isclose

from torch import Tensor

from lycoris_ext.algorithms import detect
from lycoris_ext.errors import FormatError
from lycoris_ext.formats import AdapterState
from lycoris_ext.modules import AdapterLayer
from lycoris_ext.network.sites import Site, place_layers, stored_by_key

Layers = Mapping[str, AdapterLayer]
Sites = Mapping[str, Site]


def module_name(key: str) -> str:
    """Turn a layer's key into a name for a submodule, which must not contain dots."""
    return key.replace(".", ":")


def load_state(
    layers: Layers, sites: Sites, state: AdapterState, partly: bool
) -> tuple[list[str], list[str]]:
    """Copy the tensors of an adapter file into adapters; see ``Network.load_adapter_state``."""
    in_file = state.layers()
    targets = {site.target for site in sites.values()}
    adapted = state.only(targets).layers() if partly else in_file
    stored = stored_by_key(adapted, sites, all_of_them=not partly)
    for key, tensors in stored.items():
        plan, alpha = layers[key].plan, detect(tensors, key, sites[key].spec).alpha
        if plan.uses_alpha and not isclose(alpha, plan.alpha, rel_tol=0.01):
            raise FormatError(
                f"its alpha is {alpha:g} in the file and {plan.alpha:g} in the network, which "
                "would change its strength",
                where=key,
                fix="build the network with the file's alpha",
            )
        layers[key].check_stored(tensors, key)
    for key, tensors in stored.items():
        layers[key].load_stored(tensors, key)
    return (
        [key for key in sites if key not in stored],
        [layer for layer in in_file if layer not in adapted],
    )


def as_state_dict(
    state: AdapterState, sites: Sites, expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Rename and reshape a file's tensors; see ``Network.as_state_dict``.

    Args:
        state: the file's content.
        sites: the network's layers, by key.
        expected: the network's ``state_dict``.
    """
    layers = state.layers()
    placed = place_layers(layers, sites)
    named: dict[str, Tensor] = {}
    for layer, tensors in layers.items():
        key = module_name(placed[layer].key) if layer in placed else layer
        alpha = {"alpha": expected[f"{key}.alpha"]} if f"{key}.alpha" in expected else {}
        for name, tensor in (alpha | tensors).items():
            like = expected.get(f"{key}.{name}", tensor)
            same = like.numel() == tensor.numel()
            named[f"{key}.{name}"] = tensor.reshape(like.shape) if same else tensor
    return named
