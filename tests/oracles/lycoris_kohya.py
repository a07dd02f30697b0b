"""Writes lycoris_kohya.json: the networks that lycoris.kohya 3.2.0.post2 builds in sd-scripts.

    pip install --no-deps --target FOLDER lycoris-lora==3.2.0.post2
    python -m tests.oracles.lycoris_kohya FOLDER

Of that version, because the default preset of 4.1.3 fails on SD1. The models are the trees of
sd_scripts_models.json; nothing but names, shapes and statistics of initial values is kept.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.hosts.inside.model_trees import Tree, model_of

VERSION = "3.2.0.post2"
FILE = Path(__file__).with_suffix(".json")
MODELS = FILE.with_name("sd_scripts_models.json")
FAMILIES = ("sd1", "sd2", "sdxl")

Case = tuple[int, float, dict[str, str]]
CONV = {"conv_dim": "4", "conv_alpha": "1"}
#: network_dim, network_alpha, network_args.
CASES: dict[str, Case] = {
    "no arguments": (8, 4.0, {}),
    "loha 8/4": (8, 1.0, {"algo": "loha", **CONV}),
    "loha 8/4, conv_alpha of the network": (8, 4.0, {"algo": "loha", "conv_dim": "4"}),
    "loha tucker": (8, 1.0, {"algo": "loha", "use_tucker": "True", **CONV}),
    "loha by an old name": (8, 1.0, {"algo": "loha", "use_cp": "True", **CONV}),
    "locon 16/8": (16, 8.0, {"algo": "locon", "conv_dim": "8", "conv_alpha": "1"}),
    "locon tucker": (16, 8.0, {"algo": "locon", "use_conv_cp": "True", "conv_dim": "8"}),
    "lora without conv": (8, 4.0, {"algo": "lora", "conv_dim": "0"}),
    "lora rs": (8, 4.0, {"algo": "lora", "rs_lora": "True"}),
    "lora scalar": (8, 4.0, {"algo": "lora", "use_scalar": "True"}),
    "lokr": (8, 4.0, {"algo": "lokr"}),
    "lokr factor 8": (8, 4.0, {"algo": "lokr", "factor": "8", **CONV}),
    "lokr full": (8, 4.0, {"algo": "lokr", "full_matrix": "True", "factor": "4"}),
    "lokr unbalanced": (8, 4.0, {"algo": "lokr", "unbalanced_factorization": "True"}),
    "dora, output": (8, 4.0, {"algo": "lora", "dora_wd": "True", "wd_on_output": "True"}),
    "dora, input": (8, 4.0, {"algo": "loha", "dora_wd": "True", "wd_on_output": "False", **CONV}),
    "diag-oft": (8, 1.0, {"algo": "diag-oft", "constraint": "0.001"}),
    "full": (8, 1.0, {"algo": "full"}),
    "glora": (8, 1.0, {"algo": "glora", "preset": "attn-mlp"}),
    "dylora": (8, 4.0, {"algo": "dylora", "block_size": "4"}),
    **{
        f"preset {preset}": (8, 1.0, {"algo": "loha", "preset": preset, **CONV})
        for preset in (
            "full-lin", "attn-mlp", "attn-only", "unet-only", "unet-transformer-only",
            "unet-convblock-only",
        )
    },
}  # fmt: skip

#: Layers wide enough for statistics, in the blocks that the default preset adapts.
SMALL: Tree = {
    "class": "UNet2DConditionModel",
    "of": {
        "conv_in": ["Conv2d", 320, 4, 3, 3],
        "attentions": {
            "class": "Transformer2DModel",
            "of": {
                "to_q": ["Linear", 320, 320],
                "ff": ["Linear", 2560, 320],
                "proj_in": ["Conv2d", 320, 320, 1, 1],
            },
        },
        "resnets": {
            "class": "ResnetBlock2D",
            "of": {"conv1": ["Conv2d", 320, 320, 3, 3], "time_emb_proj": ["Linear", 320, 1280]},
        },
    },
}
#: Cases that read the weights, are as large as the model, or (dylora, there) store a convolution's
#: left factor without its 1x1.
INITIAL_ALONE = ("dora, output", "dora, input", "full", "dylora")
INITIAL = (
    "no arguments", "loha 8/4", "loha tucker", "locon tucker", "lora scalar", "lokr",
    "lokr factor 8", "lokr full", "glora", "diag-oft", *INITIAL_ALONE,
)  # fmt: skip


def models_of(family: str) -> tuple[Any, nn.Module]:
    """Return (text encoder or list of them, U-Net) on meta, as the trainer passes them."""
    *encoders, unet = map(model_of, json.loads(MODELS.read_text("utf-8"))[family]["trees"])
    return (encoders if len(encoders) > 1 else encoders[0]), unet


def shape_digest(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the counts of layers, tensors and parameters, and a hash of keys and shapes."""
    lines = sorted(f"{key} {tuple(tensor.shape)}" for key, tensor in tensors.items())
    return {
        "layers": len({key.partition(".")[0] for key in tensors}),
        "tensors": len(tensors),
        "numbers": sum(t.numel() for key, t in tensors.items() if not key.endswith(".alpha")),
        "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
    }


def small_model() -> nn.Module:
    """Return a small U-Net whose weights are not on meta, for algorithms that read them."""
    torch.manual_seed(0)
    model = model_of(SMALL).to_empty(device="cpu")
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model


def statistics(tensors: Mapping[str, Tensor]) -> dict[str, list[Any]]:
    """Return shape, mean, standard deviation and largest absolute value of each tensor."""
    return {
        key: [
            [*t.shape],
            *(float(f"{v:.4g}") for v in (t.mean(), t.std(correction=0), t.abs().max())),
        ]
        for key, t in ((key, tensor.detach().double()) for key, tensor in tensors.items())
    }


def build(kohya: Any, case: Case, text_encoder: Any, unet: nn.Module) -> dict[str, Tensor]:
    dim, alpha, arguments = case
    network = kohya.create_network(1.0, dim, alpha, None, text_encoder, unet, **arguments)
    network.apply_to(text_encoder, unet, True, True)
    return dict(network.state_dict())


def main(folder: str) -> None:
    packages = distributions(path=[folder])
    found = {package.name.replace("_", "-"): package.version for package in packages}
    assert found.get("lycoris-lora") == VERSION, found
    sys.path.insert(0, folder)
    kohya = import_module("lycoris.kohya")
    shapes: dict[str, dict[str, Any]] = {}
    for family in FAMILIES:
        for name, case in CASES.items():
            if name not in INITIAL_ALONE:
                tensors = build(kohya, case, *models_of(family))
                shapes.setdefault(name, {})[family] = shape_digest(tensors)
    initial = {}
    for name in INITIAL:
        initial[name] = statistics(build(kohya, CASES[name], None, small_model()))
    lines = [f'"{name}": {json.dumps(value)}' for name, value in shapes.items()]
    starts = [f'"{name}": {json.dumps(value)}' for name, value in initial.items()]
    text = '{{\n"version": "{}",\n"shapes": {{\n{}\n}},\n"initial": {{\n{}\n}}\n}}\n'
    text = text.format(VERSION, ",\n".join(lines), ",\n".join(starts))
    FILE.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(sys.argv[1])
