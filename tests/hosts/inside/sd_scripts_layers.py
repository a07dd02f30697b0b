"""A family's layers as networks.lora and we name them; run by sd-scripts' Python in its folder.

Prints lists of names as JSON: "theirs" and "ours" for blocks alone, "theirs conv" and "ours conv"
with convolutions, "ours full" with the preset full, and "known", all layers of the U-Net that we
could adapt.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import torch
from torch import nn

from lycoris_ext.models import build_meta
from lycoris_ext.network import NetworkConfig, build_network
from lycoris_ext.network.sites import all_sites

sys.path.insert(0, os.getcwd())

from library.original_unet import UNet2DConditionModel
from library.sdxl_original_unet import SdxlUNet2DConditionModel
from networks.lora import LoRANetwork


def build_unet(family: str) -> nn.Module:
    with torch.device("meta"):
        if family == "sdxl":
            return SdxlUNet2DConditionModel()
        second = family == "sd2"
        return UNet2DConditionModel(
            sample_size=64,
            attention_head_dim=[5, 10, 20, 20] if second else 8,
            cross_attention_dim=1024 if second else 768,
            use_linear_projection=second,
        )


def their_layers(encoders: list[nn.Module], unet: nn.Module, conv: int | None) -> list[str]:
    # It appends to this list of its class on every call.
    LoRANetwork.UNET_TARGET_REPLACE_MODULE = ["Transformer2DModel"]
    given: Any = encoders if len(encoders) > 1 else encoders[0]
    with torch.device("meta"):
        network = LoRANetwork(given, unet, conv_lora_dim=conv, conv_alpha=1.0)
    return sorted(lora.lora_name for lora in network.text_encoder_loras + network.unet_loras)


def our_layers(targets: dict[str, nn.Module], algo: str, preset: str) -> list[str]:
    return sorted(build_network(targets, NetworkConfig(algo=algo, preset=preset)).sites)


def main(family: str) -> None:
    targets = {**build_meta(family), "unet": build_unet(family)}
    encoders = [part for name, part in targets.items() if name != "unet"]
    unet = targets["unet"]
    found = {
        "theirs": their_layers(encoders, unet, conv=None),
        "ours": our_layers(targets, "lora", "attn-mlp"),
        "theirs conv": their_layers(encoders, unet, conv=4),
        "ours conv": our_layers(targets, "locon", "blocks"),
        "ours full": our_layers(targets, "locon", "full"),
        "known": sorted(all_sites({"unet": unet})),
    }
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
