"""Full: the differences of weight and bias are trained, merged and unmerged."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lycoris_ext.errors import ConfigError
from lycoris_ext.formats import AdapterState
from lycoris_ext.network import Network, NetworkConfig, build_network, load_network

FULL = NetworkConfig(algo="full")


def file_of(**tensors: Tensor) -> AdapterState:
    return AdapterState({f"lycoris_0.{key}": tensor for key, tensor in tensors.items()})


def test_full_trains_like_fine_tuning_of_weight_and_bias() -> None:
    """Compare one step of SGD with one on a layer whose own weight and bias are trained."""
    torch.manual_seed(0)
    module, tuned = nn.Sequential(nn.Linear(5, 4)), nn.Linear(5, 4)
    tuned.load_state_dict(module[0].state_dict())
    network = build_network({"model": module.requires_grad_(False)}, FULL)
    x = torch.randn(7, 5)
    with network.injected():
        module(x).square().sum().backward()
        tuned(x).square().sum().backward()
        for parameters in (network.parameters(), tuned.parameters()):
            torch.optim.SGD(parameters, lr=0.01).step()
        torch.testing.assert_close(module(x), tuned(x))
    (layer,) = network.layers.values()
    assert layer.tensors()["diff_b"].abs().max() > 0


def test_a_bias_is_merged_and_given_back_bit_for_bit() -> None:
    module = nn.Sequential(nn.Linear(5, 4)).to(torch.bfloat16).requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    update = torch.randn(4)
    state = file_of(diff=torch.zeros(4, 5), diff_b=update)
    network = load_network(state, {"model": module})
    for _ in range(2):
        network.merge(0.5)
        assert torch.equal(module[0].bias, (before["0.bias"].float() + update / 2).bfloat16())
        network.unmerge()
        assert all(torch.equal(module.state_dict()[name], before[name]) for name in before)


def test_merging_a_file_without_diff_b_leaves_the_bias_alone() -> None:
    module = nn.Sequential(nn.Linear(5, 4)).requires_grad_(False)
    weight, bias = module[0].weight.clone(), module[0].bias.clone()
    network = load_network(file_of(diff=torch.ones(4, 5)), {"model": module})
    network.merge()
    assert torch.equal(module[0].bias, bias)
    torch.testing.assert_close(module[0].weight, weight + 1)


def bias_for_a_layer_without() -> tuple[nn.Module, Network]:
    module = nn.Sequential(nn.Linear(5, 4, bias=False), nn.Linear(4, 4)).requires_grad_(False)
    first = file_of(diff=torch.zeros(4, 5), diff_b=torch.arange(4.0)).tensors
    second = {"lycoris_1.diff": torch.ones(4, 4)}
    return module, load_network(AdapterState({**second, **first}), {"model": module})


def test_a_layer_without_a_bias_gets_one_in_the_forward() -> None:
    module, network = bias_for_a_layer_without()
    x = torch.randn(3, 5)
    plain = module[0](x)
    with network.injected():
        torch.testing.assert_close(module[0](x), plain + torch.arange(4.0))


def test_merging_diff_b_into_a_layer_without_bias_is_refused_before_anything_changes() -> None:
    module, network = bias_for_a_layer_without()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(ConfigError, match="an update of the bias, the layer has no bias") as caught:
        network.merge()
    assert caught.value.where == "model.0"
    assert "inject the network" in str(caught.value)
    assert all(torch.equal(module.state_dict()[name], before[name]) for name in before)
    with network.injected():  # it is not merged
        pass


def test_limiting_the_norm_of_full_scales_each_tensor_by_the_whole_factor() -> None:
    """The update is a sum: half of it on each tensor would leave it too long."""
    module = nn.Sequential(nn.Linear(5, 4)).requires_grad_(False)
    network = build_network({"model": module}, FULL)
    (layer,) = network.layers.values()
    with torch.no_grad():
        for tensor in layer.tensors().values():
            tensor.fill_(1.0)
    assert network.limit_norms(1.0)[0] == 1
    torch.testing.assert_close(layer.delta().dense().norm(), torch.tensor(1.0))
    torch.testing.assert_close(layer.tensors()["diff_b"].detach(), torch.full((4,), 20**-0.5))


def test_rank_dropout_drops_the_bias_with_its_row() -> None:
    module = nn.Sequential(nn.Linear(5, 64)).requires_grad_(False)
    network = build_network({"model": module}, NetworkConfig(algo="full", rank_dropout=0.5)).train()
    for parameter in network.parameters():
        nn.init.constant_(parameter, 1.0)
    x = torch.rand(3, 5)
    plain = module(x)
    with network.injected():
        gone = ((module(x) - plain).abs() < 1e-6).all(0)
    assert 0 < gone.sum() < 64
