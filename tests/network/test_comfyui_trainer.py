"""Files of ComfyUI's own trainer (Train LoRA) compute what they compute in ComfyUI.

Each test has the trainer's formula beside it; the trainer itself runs in ComfyUI alone.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lycoris_ext.formats import AdapterState, save_adapter
from lycoris_ext.network import Network, load_network
from tests.conv_norm_linear import Model, model_and_input


def output(model: Model, network: Network, x: Tensor) -> Tensor:
    with torch.no_grad(), network.injected():
        return model(x)


def test_a_file_of_comfyuis_trainer_updates_weights_biases_and_normalisations() -> None:
    """It names layers by their path, flattens the kernel, and stores `diff` for a normalisation."""
    model, x = model_and_input()
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    factors = {
        "conv.lora_up.weight": random(6, 2),
        "conv.lora_down.weight": random(2, 36),
        "conv.alpha": torch.tensor(1.0),
        "conv.diff_b": random(6),
        "norm.diff": random(6),
        "norm.diff_b": random(6),
        "linear.lora_up.weight": random(8, 2),
        "linear.lora_down.weight": random(2, 6),
        "linear.alpha": torch.tensor(1.0),
        "linear.diff_b": random(8),
    }
    state = AdapterState({f"diffusion_model.{key}": t for key, t in factors.items()})
    read = load_network(state, {"diffusion_model": model}).double()
    moved = deepcopy(model)
    for name in ("conv", "linear"):
        layer = getattr(moved, name)
        up, down = factors[f"{name}.lora_up.weight"], factors[f"{name}.lora_down.weight"]
        layer.weight.data += 0.5 * (up.double() @ down.double()).reshape(layer.weight.shape)
        layer.bias.data += factors[f"{name}.diff_b"]
    moved.norm.weight.data += factors["norm.diff"]
    moved.norm.bias.data += factors["norm.diff_b"]
    assert torch.allclose(output(model, read, x), moved(x), rtol=0, atol=1e-6)
    names = {key.rpartition(".")[2] for key in read.adapter_state().tensors if "norm" in key}
    assert names == {"w_norm", "b_norm"}


@pytest.mark.parametrize("widths", [(4, 9), (6, 6), (12, 3)])
def test_a_lokr_of_comfyuis_trainer_splits_a_convolution_as_a_matrix(
    widths: tuple[int, int], tmp_path: Path
) -> None:
    """The columns are inputs * kernel, which the two factors need not split between channels."""
    model, x = model_and_input()
    w1, w2 = torch.randn(2, widths[0]).double(), torch.randn(3, widths[1]).double()
    tensors = {"conv.lokr_w1": w1, "conv.lokr_w2": w2, "conv.alpha": torch.tensor(1.0)}
    state = AdapterState({f"diffusion_model.{key}": t for key, t in tensors.items()})
    read = load_network(state, {"diffusion_model": model}).double()
    moved = deepcopy(model)
    moved.conv.weight.data += torch.kron(w1, w2).reshape(moved.conv.weight.shape)
    wanted = moved(x)
    assert torch.allclose(output(model, read, x), wanted, rtol=0, atol=1e-5)
    save_adapter(tmp_path / "a", read.adapter_state(dtype=None))
    again = load_network(tmp_path / "a", {"diffusion_model": model}).double().train()
    again.requires_grad_(True)
    assert torch.allclose(output(model, again, x), wanted, rtol=0, atol=1e-5)
    with again.injected():
        model(x).square().sum().backward()
    assert all(bool(p.grad.any()) for p in again.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("metadata", "has_bias", "limit"),
    [({}, True, 1), ({}, False, 8), ({"ss_network_module": "lycoris_ext.kohya"}, True, 8)],
)
def test_the_constraint_of_comfyuis_oft_is_not_multiplied_by_the_outputs(
    metadata: dict[str, str], has_bias: bool, limit: int
) -> None:
    """It is 1 in every file of its trainer, which trains all biases and writes no metadata."""
    model, x = model_and_input()
    blocks = torch.randn(4, 2, 2).double()
    tensors = {"linear.oft_blocks": blocks, "linear.alpha": torch.tensor(1.0)}
    if has_bias:
        tensors["linear.diff_b"] = torch.zeros(8)
    state = AdapterState({f"diffusion_model.{key}": t for key, t in tensors.items()}, metadata)
    read = load_network(state, {"diffusion_model": model}).double()
    skew, eye = blocks - blocks.mT, torch.eye(2).double()
    skew = skew * min(1.0, limit / float(skew.norm()))
    rotation = (eye + skew) @ torch.linalg.inv(eye - skew)
    moved = deepcopy(model)
    weight = moved.linear.weight.data.unflatten(0, (4, 2))
    moved.linear.weight.data = torch.einsum("knm,kn...->km...", rotation, weight).flatten(0, 1)
    assert 1 < float((blocks - blocks.mT).norm()) < 8
    assert torch.allclose(output(model, read, x), moved(x), rtol=0, atol=1e-6)
    again = load_network(read.adapter_state(metadata, None), {"diffusion_model": model}).double()
    assert torch.allclose(output(model, again, x), moved(x), rtol=0, atol=1e-6)
