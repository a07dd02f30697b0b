"""The sizes of a network's updates, and limiting them (max-norm regularization)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lycoris_ext.functional import FrozenLayer
from lycoris_ext.modules import AdapterLayer
from lycoris_ext.network.sites import Site


def update_norms(layers: Mapping[str, AdapterLayer], sites: Mapping[str, Site]) -> Tensor:
    """Return the Frobenius norm of each update, (layers,), in the order of ``layers``."""
    bases = {key: FrozenLayer.of(site.module, site.spec) for key, site in sites.items()}
    norms = [layer.norm(bases[key]) for key, layer in layers.items()]
    return torch.stack([norm.to(norms[0].device) for norm in norms])


def limit_norms(
    layers: Mapping[str, AdapterLayer], sites: Mapping[str, Site], max_norm: float
) -> tuple[int, Tensor]:
    """Scale down every update whose norm is larger; see ``Network.limit_norms``."""
    norms = update_norms(layers, sites).cpu()
    longer = 0
    for layer, norm in zip(layers.values(), norms.tolist(), strict=True):
        if norm > max_norm:
            layer.shrink(max_norm / norm)
            longer += 1
    return longer, norms.clamp(max=max_norm)
