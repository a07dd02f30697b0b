"""gen_img.py's regions with networks.lora and with ours, on the same small layers and file; run by
sd-scripts' Python in its folder. Prints JSON: the largest difference of each layer's output.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import torch
from torch import Tensor, nn

from lycoris_ext import kohya

sys.path.insert(0, os.getcwd())

from networks import lora

BATCH, PROMPTS, HEIGHT, WIDTH = 2, 2, 64, 128


class Transformer2DModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj_in = nn.Conv2d(8, 8, 1)
        self.attn2 = nn.Module()
        self.attn2.to_q = nn.Linear(8, 8, bias=False)
        self.attn2.to_k = nn.Linear(6, 8, bias=False)
        self.attn2.to_out = nn.ModuleList([nn.Linear(8, 8)])


class ResnetBlock2D(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1)
        self.time_emb_proj = nn.Linear(8, 8)


class CLIPAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(6, 6)


def build() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    text, unet = nn.Module(), nn.Module()
    text.text_model = CLIPAttention()
    unet.down_blocks = nn.ModuleList([nn.Module()])
    unet.down_blocks[0].attentions = nn.ModuleList([Transformer2DModel()])
    unet.down_blocks[0].resnets = nn.ModuleList([ResnetBlock2D()])
    return text, unet


def inputs() -> dict[str, Tensor]:
    """Return the input of each layer by its path, with the rows that gen_img.py passes to it."""
    torch.manual_seed(1)
    pictures, rows = 2 * BATCH, BATCH * (1 + PROMPTS)
    tokens = (HEIGHT // 8) * (WIDTH // 8)
    at = "down_blocks.0.attentions.0"
    return {
        "text_model.q_proj": torch.randn(BATCH * PROMPTS, 7, 6),
        f"{at}.proj_in": torch.randn(pictures, 8, HEIGHT // 8, WIDTH // 8),
        f"{at}.attn2.to_q": torch.randn(pictures, tokens, 8),
        f"{at}.attn2.to_k": torch.randn(rows, 7, 6),
        f"{at}.attn2.to_out.0": torch.randn(rows, tokens, 8),
        "down_blocks.0.resnets.0.conv1": torch.randn(pictures, 8, HEIGHT // 16, WIDTH // 16),
        "down_blocks.0.resnets.0.time_emb_proj": torch.randn(pictures, 8),
    }


def outputs(modules: list[Any], files: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    text, unet = build()
    networks = []
    for module, weights in zip(modules, files, strict=True):
        network, _ = module.create_network_from_weights(
            0.8, None, None, [text], unet, dict(weights), True
        )
        network.apply_to([text], unet)
        network.load_state_dict(weights, False)
        networks.append(network)
    left = torch.zeros(HEIGHT, WIDTH)
    left[:, : WIDTH // 3] = 1
    for index, (network, mask) in enumerate(zip(networks, (left, 1 - left), strict=True)):
        network.set_region(index, index == len(networks) - 1, mask)
    shared: dict[str, Any] = {}
    for network in networks:
        network.set_multiplier(0.8)
        network.set_current_generation(BATCH, PROMPTS, WIDTH, HEIGHT, shared, None)
    found = {}
    with torch.no_grad():
        for path, x in inputs().items():
            model = text if path.startswith("text_model") else unet
            found[path] = model.get_submodule(path)(x.clone())
    return found


def main() -> None:
    text, unet = build()
    arguments = {"algo": "lora", "conv_dim": "2", "preset": "full"}
    files = []
    for seed in (2, 3):
        network = kohya.create_network(1.0, 2, 1.0, None, [text], unet, **arguments)
        generator = torch.Generator().manual_seed(seed)
        state = network.state_dict()
        files.append(
            {
                key: tensor
                if key.endswith("alpha")
                else torch.randn(tensor.shape, generator=generator)
                for key, tensor in state.items()
                # networks.lora leaves it alone unless a file has it, and has no such class here
            }
        )
    theirs = outputs([lora, lora], files)
    mixtures = {"ours": [kohya, kohya], "ours inside": [kohya, lora], "ours outside": [lora, kohya]}
    differences = {}
    for name, modules in mixtures.items():
        found = outputs(modules, files)
        differences[name] = {
            path: (found[path] - theirs[path]).abs().max().item()
            if found[path].shape == theirs[path].shape
            else "shape"
            for path in theirs
        }
    print("\n" + json.dumps(differences))


if __name__ == "__main__":
    main()
