"""Adapter files through sd-scripts' networks.lora, onto models of real names; run by its Python.

Argument: a JSON file, [[family, file], ...]. Prints JSON: file -> {"left": keys that networks.lora
did not take, "nothing": whether it left the whole file, "lines": 1 if it lists the keys it left}.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, os.getcwd())

import torch
from library.original_unet import UNet2DConditionModel
from library.sdxl_original_unet import SdxlUNet2DConditionModel
from networks import lora
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel


def loaded_models(family: str) -> tuple[Any, Any]:
    with torch.device("meta"):
        sizes = {"num_hidden_layers": 2}
        if family == "sdxl":
            wide = CLIPTextConfig(**sizes, hidden_size=1280, intermediate_size=5120)
            encoders = [
                CLIPTextModel(CLIPTextConfig(**sizes, hidden_size=768, intermediate_size=3072)),
                CLIPTextModel(wide),
            ]
            return encoders, SdxlUNet2DConditionModel()
        encoder = CLIPTextModel(CLIPTextConfig(**sizes, hidden_size=768, intermediate_size=3072))
        unet = UNet2DConditionModel(
            sample_size=64,
            attention_head_dim=8,
            cross_attention_dim=768,
            use_linear_projection=False,
        )
        return encoder, unet


def main() -> None:
    asked: list[tuple[str, str]] = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    models = {family: loaded_models(family) for family in {family for family, _ in asked}}
    found = {}
    for family, file in asked:
        encoders, unet = models[family]
        weights = load_file(file)
        names = {id(tensor): key for key, tensor in weights.items()}  # it renames some keys
        network, weights = lora.create_network_from_weights(
            1.0, file, None, encoders, unet, weights, for_inference=True
        )
        loras = network.text_encoder_loras + network.unet_loras
        for one in loras:
            network.add_module(one.lora_name, one)  # as apply_to does
        error, unexpected = "", list(weights)
        try:
            unexpected = network.load_state_dict(weights, False).unexpected_keys
        except RuntimeError as fault:
            error = str(fault).splitlines()[-1].strip()
        found[file] = {
            "left": [names[id(weights[key])] for key in unexpected],
            "nothing": not loras or bool(error),
            "lines": bool(unexpected),
            "error": error,
        }
    print("\n" + json.dumps(found))


main()
