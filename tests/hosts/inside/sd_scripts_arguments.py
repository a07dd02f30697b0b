"""Layers, ranks, alphas and learning rates that arguments give in sd-scripts' own module of a
family and in ours, on meta tensors; run by sd-scripts' Python in its folder.

Arguments: a family of sd_scripts_families.py, and JSON: [[alpha, arguments], ...]. Prints JSON: for
each of them {"theirs": ..., "ours": ...}: name of a layer -> [rank, alpha, learning rate].
"""

from __future__ import annotations

import json
import logging
import sys
from importlib import import_module
from typing import Any

import torch
from sd_scripts_families import FAMILIES

from lycoris_ext.kohya import create_network

RATE = 0.125


def rates_of(network: Any, alpha: float) -> dict[int, float]:
    """Return the learning rate of each parameter, by its address."""
    groups, _ = network.prepare_optimizer_params_with_multiple_te_lrs([RATE], RATE, RATE)
    return {id(parameter): group["lr"] for group in groups for parameter in group["params"]}


def theirs(module: Any, alpha: float, encoders: Any, unet: Any, more: dict[str, str]) -> Any:
    more = {name: text for name, text in more.items() if name != "preset" and text}
    network = module.create_network(1.0, 8, alpha, None, encoders, unet, **more)
    loras = network.text_encoder_loras + network.unet_loras
    for lora in loras:
        network.add_module(lora.lora_name, lora)
    rates = rates_of(network, alpha)
    return {
        lora.lora_name: [lora.lora_dim, float(lora.scale * lora.lora_dim),
                         rates[id(next(lora.parameters()))]]
        for lora in loras
    }  # fmt: skip


def ours(alpha: float, encoders: Any, unet: Any, more: dict[str, str]) -> Any:
    network = create_network(1.0, 8, alpha, None, encoders, unet, algo="lora", **more)
    rates = rates_of(network, alpha)
    return {
        key: [layer.plan.rank, layer.plan.alpha, rates[id(next(layer.parameters()))]]
        for key, layer in network.layers.items()
    }


def main(family: str, cases: str) -> None:
    logging.disable(logging.INFO)
    name, build = FAMILIES[family]
    module = import_module(f"networks.{name}")
    found = []
    with torch.device("meta"):
        encoders, unet = build()
        for alpha, more in json.loads(cases):
            found.append(
                {
                    "theirs": theirs(module, alpha, encoders, unet, more),
                    "ours": ours(alpha, encoders, unet, more),
                }
            )
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
