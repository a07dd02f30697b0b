"""Adapters of the webuis' models: real files of ours, strong enough to be seen."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from lycoris_ext.formats import AdapterState, load_adapter, save_adapter
from lycoris_ext.network import NetworkConfig, build_network
from tests.hosts.webui_model import tiny_modules

TARGETS = ("unet", "text_encoder", "text_encoder_2")

CONFIGS: Mapping[str, NetworkConfig] = {
    "loha": NetworkConfig(algo="loha", network_dim=4, conv_dim=2),
    "locon-tucker": NetworkConfig(algo="locon", network_dim=4, conv_dim=4, use_tucker=True),
    "lokr": NetworkConfig(algo="lokr", network_dim=4, conv_dim=4, factor=4),
    "dora": NetworkConfig(algo="locon", network_dim=4, conv_dim=4, dora_wd=True),
}


def write_adapter(
    path: Path,
    kind: str,
    *,
    seed: int = 0,
    step: int = 100,
    modules: Mapping[str, nn.Module] | None = None,
    output_name: str = "tilty",
) -> Path:
    """Write an adapter in which every factor has moved from where it began.

    Args:
        path: of the file.
        kind: a key of `CONFIGS`.
        seed: of the numbers.
        step: as the metadata tell.
        modules: of the base model; None is the tiny one.
        output_name: the name in its metadata, which the hosts take as an alias.
    """
    modules = modules or tiny_modules(0)
    targets = {name: modules[name] for name in TARGETS if name in modules}
    network = build_network(targets, CONFIGS[kind], seed=seed)
    numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            spread = 0.5 * parameter.std().nan_to_num(0) + 0.2
            parameter.add_(spread * torch.randn(parameter.shape, generator=numbers))
    tags = {"10_tilty": {"Tilty": 40, "aniscreen": 40, "blonde hair": 30, "smile": 12}}
    metadata = {
        "ss_output_name": output_name,
        "ss_base_model_version": "sdxl_base_v1-0" if "text_encoder_2" in targets else "sd_v1",
        "ss_sd_model_name": "tiny-a.safetensors",
        "ss_steps": str(step),
        "ss_tag_frequency": json.dumps(tags),
        "ss_dataset_dirs": json.dumps({"10_tilty": {"n_repeats": 10, "img_count": 40}}),
    }
    save_adapter(path, network.adapter_state(metadata, torch.float32))
    return path


def write_vae(path: Path, checkpoint: Path, factor: float) -> Path:
    """Write a checkpoint's autoencoder as a file of its own, its decoder's output made stronger."""
    start = "first_stage_model."
    with safe_open(checkpoint, "pt") as file:
        names = [key for key in file.keys() if key.startswith(start)]  # noqa: SIM118
        weights = {key.removeprefix(start): file.get_tensor(key) for key in names}
    weights["decoder.conv_out.weight"] = weights["decoder.conv_out.weight"] * factor
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: tensor.contiguous() for key, tensor in weights.items()}, path)
    return path


def write_hostile(path: Path) -> Path:
    """Write a file whose header claims ten gigabytes."""
    path.write_bytes(struct.pack("<Q", 10 << 30) + b'{"<script>alert(1)</script>":{}}')
    return path


def write_overflowing(path: Path, like: str) -> None:
    """Write an adapter whose numbers are finite, and whose pictures are all NaN."""
    state = load_adapter(like)
    tensors = {k: t * 1e15 if k.endswith("_w1_a") else t for k, t in state.tensors.items()}
    save_adapter(path, AdapterState(tensors, state.metadata))
