# ruff: noqa: E402
"""Adapter files through Forge's own loader, onto models of real names; run by Forge's Python.

Argument: a JSON file, [[family, file], ...]. Prints JSON: file -> {"left": keys that Forge did not
take, "nothing": whether it left the whole file, "lines": number of lines that it printed}.
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

ARGUMENTS, sys.argv = sys.argv[1:], [sys.argv[0], "--always-cpu", "--skip-torch-cuda-test"]
sys.path[:0] = [os.getcwd(), os.path.join(os.getcwd(), "extensions-builtin", "sd_forge_lora")]

# The order of the host's imports matters.
# isort: off
from modules import shared_init

shared_init.initialize()  # other modules read its options while they are imported
from modules import processing  # noqa: F401 - first, or the host imports in a circle
import networks
import torch
from backend.nn.clip import IntegratedCLIP
from backend.nn.unet import IntegratedUNet2DConditionModel
from backend.patcher.base import ModelPatcher
from backend.patcher.clip import CLIP
from transformers import CLIPTextConfig, CLIPTextModel
# isort: on

_CPU = torch.device("cpu")
_UNET: dict[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_heads": 4,
    "use_spatial_transformer": True,
}
#: Sizes of the U-Net; the numbers of layers are the family's own, the widths are small.
UNETS: dict[str, dict[str, Any]] = {
    "sd1": {
        **_UNET,
        "num_res_blocks": [2, 2, 2, 2],
        "channel_mult": [1, 2, 2, 2],
        "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
        "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
        "transformer_depth_middle": 1,
        "context_dim": 768,
    },
    "sdxl": {
        **_UNET,
        "num_res_blocks": [2, 2, 2],
        "channel_mult": [1, 2, 4],
        "transformer_depth": [0, 0, 2, 2, 10, 10],
        "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
        "transformer_depth_middle": 10,
        "context_dim": 2048,
        "use_linear_in_transformer": True,
        "num_classes": "sequential",
        "adm_in_channels": 2816,
    },
}
CLIPS = {"sd1": ("clip_l",), "sdxl": ("clip_l", "clip_g")}


def loaded_models(family: str) -> tuple[Any, Any]:
    with torch.device("meta"):
        model = torch.nn.Module()
        model.diffusion_model = IntegratedUNet2DConditionModel.from_config(UNETS[family])
        model.config = SimpleNamespace(huggingface_repo=family)
        size = CLIPTextConfig(num_hidden_layers=2)
        encoders = {
            name: IntegratedCLIP(CLIPTextModel, size, add_text_projection=True)
            for name in CLIPS[family]
        }
    patcher = ModelPatcher(model, load_device=_CPU, offload_device=_CPU)
    return patcher, CLIP(encoders, {})


def main() -> None:
    asked: list[tuple[str, str]] = json.loads(Path(ARGUMENTS[0]).read_text("utf-8"))
    models = {family: loaded_models(family) for family in {family for family, _ in asked}}
    remaining: list[str] = []
    load_lora = networks.load_lora

    def remembered(lora: Any, names: Any) -> Any:
        patches, rest = load_lora(lora, names)
        remaining[:] = rest
        return patches, rest

    networks.load_lora = remembered
    found = {}
    for family, file in asked:
        for find in (networks.model_lora_keys_unet, networks.model_lora_keys_clip):
            find.__defaults__[0].clear()  # Forge keeps the names of every model in one dict
        tensors = networks.load_lora_state_dict(file)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            model, clip = networks.load_lora_for_models(*models[family], dict(tensors), 1, 1, file)
        patched = [*model.lora_patches.values(), *clip.patcher.lora_patches.values()]
        found[file] = {
            "left": list(remaining),
            "nothing": not any(patched),
            "lines": len(said.getvalue().splitlines()),
        }
    print("\n" + json.dumps(found))


main()
