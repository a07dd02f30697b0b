"""Adapters of the tiny webui model: real files of ours, strong enough to be seen."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import torch

from lycoris_ext.formats import save_adapter
from lycoris_ext.network import NetworkConfig, build_network
from tests.hosts.webui_model import tiny_modules

CONFIGS: Mapping[str, NetworkConfig] = {
    "loha": NetworkConfig(algo="loha", network_dim=4, conv_dim=2),
    "locon-tucker": NetworkConfig(algo="locon", network_dim=4, conv_dim=4, use_tucker=True),
    "lokr": NetworkConfig(algo="lokr", network_dim=4, conv_dim=4, factor=4),
    "dora": NetworkConfig(algo="locon", network_dim=4, conv_dim=4, dora_wd=True),
}


def write_adapter(path: Path, kind: str, *, seed: int = 0, step: int = 100) -> Path:
    """Write an adapter in which every factor has moved from where it began.

    Args:
        path: of the file.
        kind: a key of `CONFIGS`.
        seed: of the numbers.
        step: as the metadata tell.
    """
    modules = tiny_modules(0)
    targets = {name: modules[name] for name in ("unet", "text_encoder")}
    network = build_network(targets, CONFIGS[kind], seed=seed)
    numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            spread = 0.5 * parameter.std().nan_to_num(0) + 0.2
            parameter += spread * torch.randn(parameter.shape, generator=numbers)
    tags = {"10_tilty": {"Tilty": 40, "aniscreen": 40, "blonde hair": 30, "smile": 12}}
    metadata = {
        "ss_output_name": "tilty",
        "ss_base_model_version": "sd_v1",
        "ss_sd_model_name": "tiny-a.safetensors",
        "ss_steps": str(step),
        "ss_tag_frequency": json.dumps(tags),
        "ss_dataset_dirs": json.dumps({"10_tilty": {"n_repeats": 10, "img_count": 40}}),
    }
    save_adapter(path, network.adapter_state(metadata, torch.float32))
    return path


def write_hostile(path: Path) -> Path:
    """Write a file whose header claims ten gigabytes."""
    path.write_bytes(struct.pack("<Q", 10 << 30) + b'{"<script>alert(1)</script>":{}}')
    return path
