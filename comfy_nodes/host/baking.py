"""Store layers that ComfyUI's own loader computes wrongly as whole differences of weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lycoris_ext.formats import AdapterState
from lycoris_ext.formats.keys import split_key
from lycoris_ext.formats.misread import misreads
from lycoris_ext.formats.namings import COMFYUI
from lycoris_ext.network import Network
from lycoris_ext.network.sites import DENOISERS, Site
from lycoris_ext.words import count

from .patches import delta_of, encoders_of


def misread_layers(network: Network) -> dict[str, list[str]]:
    """Return what ComfyUI's own loader does wrongly -> the layers that it does so with."""
    found: dict[str, list[str]] = {}
    for key, layer in network.layers.items():
        for told in misreads(COMFYUI, layer.plan):
            found.setdefault(told, []).append(key)
    return found


def warnings(network: Network) -> list[str]:
    """Say for the user which layers of an adapter ComfyUI's own loader computes wrongly."""
    lines = [
        f"{count(len(layers), 'layer')}: ComfyUI's own loader {told}"
        for told, layers in misread_layers(network).items()
    ]
    mend = "Apply LoRA computes these layers rightly; switch bake on for ComfyUI's own loader"
    return [*lines, mend] if lines else []


@torch.no_grad()
def baked(
    state: AdapterState, network: Network, model: Any, clip: Any, dtype: torch.dtype | None
) -> tuple[AdapterState, int]:
    """Replace layers that ComfyUI misreads by whole differences, which all hosts add as they are.

    Args:
        state: what ``network`` is written as.
        network: over the modules of the connected model and text encoder.
        model, clip: ComfyUI's; the adapter is for their weights before any LoRA.
        dtype: of the differences; None: float32.

    Returns:
        The new content of the file, and how many layers were replaced.

    Raises:
        ShapeError: the weights are packed, so that the difference from them cannot be computed.
    """
    wrong = {key for layers in misread_layers(network).values() for key in layers}
    tensors = {k: t for k, t in state.tensors.items() if split_key(k)[0] not in wrong}
    for key in network.layers:
        if key in wrong:
            layer, site = network.layers[key], network.sites[key]
            delta = delta_of(layer, site, _own_weight(site, model, clip))
            tensors[f"{key}.diff"] = _stored(delta.dense().reshape(site.spec.weight_shape), dtype)
            bias = delta.bias()
            if bias is not None:
                tensors[f"{key}.diff_b"] = _stored(bias, dtype)
    return AdapterState(tensors, state.metadata, state.source), len(wrong)


def _stored(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor.to("cpu", dtype or torch.float32).contiguous()


def _own_weight(site: Site, model: Any, clip: Any) -> Tensor:
    """Return a layer's weight before any LoRA, in float32: ComfyUI keeps those that it patched."""
    if site.target in DENOISERS:
        patcher, start = model, "diffusion_model."
    else:
        patcher, start = clip.patcher, f"{encoders_of(clip)[site.target]}.transformer."
    kept = patcher.backup.get(f"{start}{site.path}.weight")
    weight = site.weight if kept is None else getattr(kept, "weight", kept)
    return weight.detach().cpu().float() if weight.is_floating_point() else weight.detach()
