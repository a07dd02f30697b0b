# ruff: noqa: E402
"""Adapter files through AUTOMATIC1111's own loader, onto models of real names; run by its Python.

Argument: a JSON file, [[family, file], ...]. Prints JSON: file -> {"left": keys that the host did
not take, "nothing": whether it left the whole file, "lines": number of lines that it printed}.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ARGUMENTS, sys.argv = sys.argv[1:], [sys.argv[0], "--use-cpu=all", "--skip-torch-cuda-test"]
sys.path[:0] = [os.getcwd(), os.path.join(os.getcwd(), "extensions-builtin", "Lora")]

# The order of the host's imports matters.
# isort: off
from modules import paths, shared_init  # noqa: F401

shared_init.initialize()  # other modules read its options while they are imported
from modules import processing  # noqa: F401 - first, or the host imports in a circle
import networks
import open_clip
import torch
from ldm.modules.diffusionmodules.openaimodel import UNetModel
from modules import sd_models, shared
from transformers import CLIPTextConfig, CLIPTextModel
# isort: on

_UNET: dict[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_heads": 4,
    "num_res_blocks": 2,
    "use_spatial_transformer": True,
}
UNETS: dict[str, dict[str, Any]] = {
    "sd1": {
        **_UNET,
        "image_size": 32,
        "legacy": False,
        "attention_resolutions": [4, 2, 1],
        "channel_mult": [1, 2, 2, 2],
        "context_dim": 768,
    },
    "sdxl": {
        **_UNET,
        "attention_resolutions": [4, 2],
        "channel_mult": [1, 2, 4],
        "transformer_depth": [1, 2, 10],
        "context_dim": 2048,
        "use_linear_in_transformer": True,
        "num_classes": "sequential",
        "adm_in_channels": 2816,
    },
}


def encoder(transformer: bool) -> torch.nn.Module:
    wrapped = torch.nn.Module()
    if transformer:
        wrapped.transformer = CLIPTextModel(CLIPTextConfig(num_hidden_layers=2))
    else:
        wrapped.model = open_clip.transformer.TextTransformer(layers=2, width=64, heads=2)
    hijacked = torch.nn.Module()
    hijacked.wrapped = wrapped
    return hijacked


def loaded_model(family: str) -> Any:
    if family == "sdxl":
        from sgm.modules.diffusionmodules.openaimodel import UNetModel as UNet
    else:
        UNet = UNetModel
    with torch.device("meta"):
        unet = torch.nn.Module()
        unet.diffusion_model = UNet(**UNETS[family])
        encoders = [encoder(True), *([encoder(False)] if family == "sdxl" else [])]
    return SimpleNamespace(
        is_sdxl=family == "sdxl",
        model=unet,
        cond_stage_model=encoders[0],
        conditioner=SimpleNamespace(embedders=encoders),
    )


def main() -> None:
    asked: list[tuple[str, str]] = json.loads(Path(ARGUMENTS[0]).read_text("utf-8"))
    models = {family: loaded_model(family) for family in {family for family, _ in asked}}
    shared.opts.data["lora_in_memory_limit"] = 0  # an option of the built-in extension
    found = {}
    for family, file in asked:
        sd_models.model_data.sd_model = models[family]
        name = Path(file).stem
        known = networks.network.NetworkOnDisk(name, file)
        known.read_hash()  # it prints what it computes here, whatever the file is
        networks.available_networks[name] = networks.available_network_aliases[name] = known
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            networks.load_networks([name], [1.0], [1.0], [None])
        modules = [one for net in networks.loaded_networks for one in net.modules.values()]
        starts = {module.network_key.partition(".")[0] for module in modules}
        tensors = sd_models.read_state_dict(file)
        found[file] = {
            "left": [key for key in tensors if key.partition(".")[0] not in starts],
            "nothing": not modules,
            "lines": len(said.getvalue().splitlines()),
        }
    print("\n" + json.dumps(found))


main()
