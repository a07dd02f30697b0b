"""The layers of tiny models that a config adapts, and all layers that could be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from lycoris_ext.config import TrainConfig
from lycoris_ext.network.selection import SelectedLayer, select_layers
from tests.tiny_pipeline import tiny_modules

PARTS = ("unet", "text_encoder", "text_encoder_2")


def models(folder: Path, family: str) -> dict[str, nn.Module]:
    """Return the trained parts of a tiny model."""
    modules = tiny_modules(folder, 0, family, False)
    return {name: modules[name] for name in PARTS if name in modules}


def adapted(config: TrainConfig, parts: dict[str, nn.Module]) -> dict[str, SelectedLayer]:
    """Return the layers that a config adapts, by their paths."""
    network = config.network
    if network.network_train_unet_only:
        parts = {"unet": parts["unet"]}
    elif network.network_train_text_encoder_only:
        parts = {name: part for name, part in parts.items() if name != "unet"}
    return {layer.site.name: layer for layer in select_layers(parts, network)}


def wrapped(parts: dict[str, Any]) -> dict[str, nn.Module]:
    """Return all Linear and convolution layers, by their paths."""
    return {
        f"{part}.{path}": layer
        for part, model in parts.items()
        for path, layer in model.named_modules()
        if isinstance(layer, (nn.Linear, nn.Conv2d))
    }
