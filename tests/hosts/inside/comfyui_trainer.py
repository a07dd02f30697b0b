"""Files of ComfyUI's trainer, made of its own classes; run by ComfyUI's Python in its folder, with
the clone and ComfyUI's options.

Prints JSON: algorithm and rank -> the distance of our output from ComfyUI's, in lengths of the
update of the output.
"""

from __future__ import annotations

import json
import os
import sys
from copy import deepcopy
from typing import Any

sys.path.append(sys.argv.pop(1))  # the clone: it need not be installed there

import torch
from torch import Tensor, nn

from lycoris_ext.formats import AdapterState
from lycoris_ext.network import load_network


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 12, 3, padding=1)
        self.norm = nn.GroupNorm(2, 12)
        self.conv1 = nn.Conv2d(12, 12, 1)
        self.linear = nn.Linear(12, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(self.norm(self.conv(x)))
        return self.linear(x.movedim(1, -1))  # type: ignore[no-any-return]


def trained(adapter: Any, model: nn.Module, rank: int) -> tuple[dict[str, Tensor], nn.Module]:
    """Do what the trainer's node does with every layer, with random numbers for trained ones.

    Args:
        adapter: ComfyUI's class of the algorithm.
        model: the base.
        rank: of the adapter.

    Returns:
        The file's tensors, and the model as the trainer sees it.
    """
    tensors, moved = {}, deepcopy(model)
    for name, layer in moved.named_modules():
        if not isinstance(getattr(layer, "weight", None), Tensor):
            continue
        weight, bias = layer.weight.data, layer.bias.data  # type: ignore[union-attr]
        if weight.ndim >= 2:
            update = adapter.create_train(weight, rank=rank, alpha=1.0)
            for parameter in update.parameters():
                if parameter.requires_grad:
                    parameter.data.normal_(0, 0.3)
            for key, parameter in update.named_parameters():
                tensors[f"diffusion_model.{name}.{key}"] = parameter.detach().clone()
            layer.weight.data = update(weight)  # type: ignore[union-attr]
        else:
            tensors[f"diffusion_model.{name}.diff"] = torch.randn_like(weight)
            weight += tensors[f"diffusion_model.{name}.diff"]
        tensors[f"diffusion_model.{name}.diff_b"] = torch.randn_like(bias)
        bias += tensors[f"diffusion_model.{name}.diff_b"]
    return tensors, moved


@torch.no_grad()
def main() -> None:
    sys.path.insert(0, os.getcwd())
    import comfy.options

    comfy.options.enable_args_parsing()
    from comfy.weight_adapter import adapter_maps

    found = {}
    for algorithm, adapter in adapter_maps.items():
        for rank in (2, 3, 4, 8):
            torch.manual_seed(0)
            model, x = Model(), torch.randn(1, 8, 5, 5)
            before = model(x)
            tensors, moved = trained(adapter, model, rank)
            wanted = moved(x)
            network = load_network(AdapterState(tensors), {"diffusion_model": model})
            with network.injected():
                wrong = model(x) - wanted
            found[f"{algorithm}, rank {rank}"] = float(wrong.norm() / (wanted - before).norm())
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
