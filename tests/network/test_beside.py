"""What files store beside an algorithm's tensors: updates of the bias, and sparse updates."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lycoris_ext.errors import ConfigError, FormatError
from lycoris_ext.formats import AdapterState, load_adapter, save_adapter
from lycoris_ext.network import Network, NetworkConfig, build_network, load_network
from tests.conv_norm_linear import Model, model_and_input

ALGORITHMS: dict[str, dict[str, Any]] = {
    "lora": {},
    "lora, dora": {"dora_wd": True},
    "lora, tucker": {"use_tucker": True},
    "loha": {},
    "lokr": {"factor": 2},
    "glora": {},
    "ia3": {},
    "diag-oft": {"network_dim": 2},
}


def perturbed(model: Model, algo: str) -> Network:
    """Return a network over the convolution and the Linear, with random numbers in all factors."""
    options = {"network_dim": 3, "conv_dim": 3, "network_alpha": 2, "conv_alpha": 2}
    config = NetworkConfig(
        algo=algo.split(",")[0], include=("conv", "linear"), **{**options, **ALGORITHMS[algo]}
    )
    network = build_network({"model": model}, config).double()
    for parameter in network.parameters():
        parameter.data += torch.randn_like(parameter) * 0.3
    return network


def output(model: Model, network: Network, x: Tensor) -> Tensor:
    with torch.no_grad(), network.injected():
        return model(x)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_an_update_of_the_bias_is_added_beside_any_algorithm(algo: str, tmp_path: Path) -> None:
    model, x = model_and_input()
    network = perturbed(model, algo)
    biases = {"lycoris_conv": torch.randn(6).double(), "lycoris_linear": torch.randn(8).double()}
    state = network.adapter_state(dtype=None)
    with_biases = {f"{layer}.diff_b": bias for layer, bias in biases.items()}
    read = load_network(AdapterState({**state.tensors, **with_biases}), {"model": model}).double()

    moved = deepcopy(model)
    moved.conv.bias.data += biases["lycoris_conv"]
    moved.linear.bias.data += biases["lycoris_linear"]
    wanted = output(moved, load_network(state, {"model": moved}).double(), x)
    assert torch.allclose(output(model, read, x), wanted, rtol=0, atol=1e-6)

    save_adapter(tmp_path / "a", read.adapter_state(dtype=None))
    assert with_biases.keys() <= load_adapter(tmp_path / "a").tensors.keys()
    again = load_network(tmp_path / "a", {"model": model}).double()
    again.merge()
    assert torch.allclose(model(x), wanted, rtol=0, atol=1e-6)
    again.unmerge()


def test_the_strength_counts_for_the_bias_alpha_does_not() -> None:
    model, x = model_and_input()
    network = perturbed(model, "lora")
    zero = {
        key: t * 0 if "lora_up" in key else t for key, t in network.adapter_state().tensors.items()
    }
    bias = torch.randn(8).double()
    read = load_network(
        AdapterState({**zero, "lycoris_linear.diff_b": bias}), {"model": model}, multiplier=0.5
    ).double()
    assert torch.allclose(output(model, read, x), model(x) + 0.5 * bias, rtol=0, atol=1e-6)


def sparse_of(matrix: Tensor, share: float) -> dict[str, Tensor]:
    """Store the largest numbers of a matrix as LyCORIS' extraction stores them."""
    matrix = matrix.flatten(1)
    kept = matrix * (matrix.abs() >= matrix.abs().flatten().quantile(1 - share))
    sparse = kept.to_sparse().coalesce()
    return {
        "bias_indices": sparse.indices().to(torch.int16),
        "bias_values": sparse.values(),
        "bias_size": torch.tensor(matrix.shape).to(torch.int16),
    }


@pytest.mark.parametrize("algo", ["lora", "lora, dora", "lora, tucker", "loha"])
def test_a_sparse_part_is_added_to_the_low_rank(algo: str, tmp_path: Path) -> None:
    model, x = model_and_input()
    network = perturbed(model, algo)
    state = network.adapter_state(dtype=None)
    more = {}
    moved = deepcopy(model)
    for name, scale in (("conv", 2 / 3), ("linear", 2 / 3)):
        weight = getattr(moved, name).weight
        sparse = sparse_of(torch.randn_like(weight), 0.3)
        more |= {f"lycoris_{name}.{key}": tensor for key, tensor in sparse.items()}
        rows, columns = sparse["bias_indices"].long()
        change = torch.zeros_like(weight).flatten(1)
        change[rows, columns] = sparse["bias_values"]
        weight.data += scale * change.reshape(weight.shape)
    read = load_network(AdapterState({**state.tensors, **more}), {"model": model}).double()
    wanted = output(moved, load_network(state, {"model": moved}).double(), x)
    assert torch.allclose(output(model, read, x), wanted, rtol=0, atol=1e-6)

    save_adapter(tmp_path / "a", read.half().adapter_state())  # indices must not be rounded
    stored = load_adapter(tmp_path / "a").tensors
    for key, tensor in more.items():
        assert torch.equal(stored[key].to(tensor.dtype), tensor.half().to(tensor.dtype))
    again = load_network(tmp_path / "a", {"model": model}).double()
    assert torch.allclose(output(model, again, x), wanted, rtol=0, atol=0.02)


def test_what_is_stored_beside_the_factors_can_be_trained_further() -> None:
    model, x = model_and_input()
    state = perturbed(model, "lora").adapter_state(dtype=None)
    more = {f"lycoris_linear.{k}": t for k, t in sparse_of(torch.randn(8, 6), 0.3).items()}
    tensors = {**state.tensors, **more, "lycoris_conv.diff_b": torch.randn(6)}
    network = load_network(AdapterState(tensors), {"model": model}).double()
    network.requires_grad_(True).train()
    with network.injected():
        model(x).square().sum().backward()
    trained = {name: p for name, p in network.named_parameters() if p.grad is not None}
    ends = {name.rpartition(".")[2] for name in trained}
    assert ends == {"weight", "diff_b", "bias_values"}
    assert all(bool(p.grad.any()) for p in trained.values())
    with pytest.raises(ConfigError, match="cannot be limited"):
        network.check_norms_have_limits()


FACTORS = {"lora_down.weight": torch.ones(2, 6), "lora_up.weight": torch.ones(8, 2)}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"diff_b": torch.ones(7)}, "out = 7"),
        ({"diff_b": torch.ones(8, 1)}, r"diff_b has shape \(8, 1\)"),
        ({**sparse_of(torch.randn(8, 5), 0.5)}, r"a matrix \[8, 5\]"),
        ({**sparse_of(torch.randn(6, 8), 0.5)}, r"a matrix \[6, 8\]"),
        (
            {
                "bias_indices": torch.tensor([[0], [6]]),
                "bias_values": torch.ones(1),
                "bias_size": torch.tensor([8, 6]),
            },
            "outside of the matrix",
        ),
        (
            {
                "bias_indices": torch.tensor([[0], [-1]]),
                "bias_values": torch.ones(1),
                "bias_size": torch.tensor([8, 6]),
            },
            "outside of the matrix",
        ),
        (
            {
                "bias_indices": torch.tensor([[0], [1]]),
                "bias_values": torch.ones(2),
                "bias_size": torch.tensor([8, 6]),
            },
            "entries = 1",
        ),
        (
            {
                "bias_indices": torch.tensor([[0], [1], [1]]),
                "bias_values": torch.ones(1),
                "bias_size": torch.tensor([8, 6, 1]),
            },
            "a matrix",
        ),
        ({"bias_indices": torch.tensor([[0], [1]])}, "no algorithm stores the keys"),
    ],
)
def test_what_does_not_fit_the_layer_is_refused(more: dict[str, Tensor], message: str) -> None:
    tensors = {f"lycoris_linear.{key}": tensor for key, tensor in {**FACTORS, **more}.items()}
    with pytest.raises(FormatError, match=message):
        load_network(AdapterState(tensors), {"model": Model()})


def test_an_update_of_a_bias_that_the_layer_lacks_is_added_but_not_merged() -> None:
    """As PEFT's lora_bias, and as the diff_b of full."""
    model, x = model_and_input()
    model.linear = nn.Linear(6, 8, bias=False).double()
    bias = torch.randn(8).double()
    tensors = {f"lycoris_linear.{key}": tensor * 0 for key, tensor in FACTORS.items()}
    state = AdapterState({**tensors, "lycoris_linear.diff_b": bias})
    network = load_network(state, {"model": model}).double()
    assert torch.allclose(output(model, network, x), model(x) + bias, rtol=0, atol=1e-6)
    with pytest.raises(ConfigError, match="bias"):
        network.merge()
