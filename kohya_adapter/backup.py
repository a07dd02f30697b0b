"""Copying and restoring base weights, for gen_img.py's --network_pre_calc.

The copies are attributes of the layers under sd-scripts' own names, so that its networks and ours
share them.
Source: sd-scripts 48d368f, networks/lora.py, backup_weights and restore_weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from lycoris_ext.network.sites import Site

_COPY, _RESTORED = "_lora_org_{}", "_lora_restored"


def keep(sites: Iterable[Site]) -> None:
    """Copy weight and bias of these base layers, unless another network has copied them."""
    for module, name, tensor in _tensors(sites):
        if not hasattr(module, _COPY.format(name)):
            setattr(module, _COPY.format(name), tensor.detach().clone())
            setattr(module, _RESTORED, True)


@torch.no_grad()
def restore(sites: Iterable[Site]) -> None:
    """Set weight and bias of those layers that ``mark_changed`` has marked back to their copies."""
    sites = list(sites)
    for module, name, tensor in _tensors(sites):
        if not getattr(module, _RESTORED):
            tensor.copy_(getattr(module, _COPY.format(name)))
    for site in sites:
        setattr(site.module, _RESTORED, True)


def mark_changed(sites: Iterable[Site]) -> None:
    """Note that the weights of these layers differ from their copies."""
    for site in sites:
        setattr(site.module, _RESTORED, False)


def _tensors(sites: Iterable[Site]) -> Iterator[tuple[nn.Module, str, Tensor]]:
    for site in sites:
        for name in ("weight", "bias"):
            tensor = getattr(site.module, name, None)
            if isinstance(tensor, Tensor):
                yield site.module, name, tensor
