"""sd-scripts' own U-Nets as targets: the layers and keys are those of its networks.lora.

Needs SD_SCRIPTS_DIR, a checkout of sd-scripts; of it only three files are executed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from lycoris_ext.models import build_meta
from lycoris_ext.network import NetworkConfig, build_network
from lycoris_ext.network.selection import all_sites

pytestmark = pytest.mark.hosts

#: Single layers that LyCORIS's preset adds to networks.lora's blocks.
ENDS = {
    "sd": {"conv_in", "conv_out", "time_embedding_linear_1", "time_embedding_linear_2"},
    "sdxl": {"input_blocks_0_0", "out_2", "time_embed_0", "time_embed_2"},
}


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """sd-scripts on the path; its library.utils, which needs OpenCV, replaced by what is used."""
    folder = Path(os.environ.get("SD_SCRIPTS_DIR", ""))
    if not (folder / "library" / "original_unet.py").is_file():
        pytest.skip("SD_SCRIPTS_DIR names no checkout of sd-scripts")
    monkeypatch.syspath_prepend(str(folder))
    utils: Any = ModuleType("library.utils")
    utils.setup_logging = lambda *_, **__: None
    before = set(sys.modules)
    monkeypatch.setitem(sys.modules, "library.utils", utils)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("library", "networks"):
            del sys.modules[name]


def sd_scripts_unet(family: str) -> nn.Module:
    with torch.device("meta"):
        if family == "sdxl":
            return import_module("library.sdxl_original_unet").SdxlUNet2DConditionModel()
        kind = import_module("library.original_unet").UNet2DConditionModel
        second = family == "sd2"
        return kind(
            sample_size=64,
            attention_head_dim=[5, 10, 20, 20] if second else 8,
            cross_attention_dim=1024 if second else 768,
            use_linear_projection=second,
        )


def peer_keys(unet: nn.Module, text_encoder: Any, conv: int | None) -> set[str]:
    network_class = import_module("networks.lora").LoRANetwork
    # It appends to this list of its class on every call.
    network_class.UNET_TARGET_REPLACE_MODULE = ["Transformer2DModel"]
    with torch.device("meta"):
        network = network_class(text_encoder, unet, conv_lora_dim=conv, conv_alpha=1.0)
    return {lora.lora_name for lora in network.text_encoder_loras + network.unet_loras}


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_layers_and_keys_are_networks_loras(scripts: None, family: str) -> None:
    unet, text = sd_scripts_unet(family), build_meta("sd15")["text_encoder"]
    # transformers 5 took a level out of the paths, which sd-scripts then leaves out of its keys
    text = text if any(name.startswith("text_model") for name, _ in text.named_modules()) else (
        nn.ModuleDict({"text_model": text})
    )  # fmt: skip
    targets = {"unet": unet, "text_encoder": text}
    encoders: Any = text
    if family == "sdxl":
        targets["text_encoder_2"] = text
        encoders = [text, text]
    plain = build_network(targets, NetworkConfig(algo="lora", preset="attn-mlp"))
    assert set(plain.sites) == peer_keys(unet, encoders, conv=None)
    full = build_network(targets, NetworkConfig(algo="locon", preset="full"))
    ends = {f"lora_unet_{name}" for name in ENDS["sdxl" if family == "sdxl" else "sd"]}
    assert set(full.sites) == peer_keys(unet, encoders, conv=4) | ends
    known = set(all_sites({"unet": unet}))
    assert ends <= known
