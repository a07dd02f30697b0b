"""scale_weight_norms shortens updates that are too long."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lycoris_ext.network import NetworkConfig, build_network


@pytest.mark.parametrize("algo", ["lora", "locon", "loha"])
@pytest.mark.parametrize("use_tucker", [False, True])
def test_limit_norms_shortens_too_long_updates_and_keeps_their_direction(targets, algo, use_tucker):
    config = NetworkConfig(algo=algo, network_dim=3, use_tucker=use_tucker, use_scalar=True)
    network = build_network(targets, config)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    before = {key: layer.delta().dense().detach() for key, layer in network.layers.items()}
    limit = 1.001 * float(torch.stack([delta.norm() for delta in before.values()]).median())
    longer = sum(float(delta.norm()) > limit for delta in before.values())
    assert 0 < longer < len(before)
    count, norms = network.limit_norms(limit)
    assert count == longer
    torch.testing.assert_close(norms, network.norms())
    for key, layer in network.layers.items():
        after, share = layer.delta().dense(), min(1.0, limit / float(before[key].norm()))
        torch.testing.assert_close(after, before[key] * share)
    assert network.limit_norms(limit * 1.0001)[0] == 0


def test_limited_norms_of_a_lora_are_those_of_sd_scripts():
    """The numbers are those of apply_max_norm_regularization(1.5) for these factors, alpha 1."""
    module = nn.Linear(4, 3)
    network = build_network(
        {"model": nn.Sequential(module)}, NetworkConfig(algo="lora", network_dim=2)
    )
    (layer,) = network.layers.values()
    up = torch.tensor([[1.0, -2.0], [0.5, 1.5], [2.0, 0.0]])
    down = torch.tensor([[1.0, 2.0, -1.0, 0.5], [0.0, -1.0, 1.0, 2.0]])
    with torch.no_grad():
        layer.tensors()["lora_up.weight"].copy_(up)
        layer.tensors()["lora_down.weight"].copy_(down)
    assert network.limit_norms(1.5)[0] == 1
    share = 0.587955
    torch.testing.assert_close(layer.tensors()["lora_up.weight"].detach(), up * share)
    torch.testing.assert_close(layer.tensors()["lora_down.weight"].detach(), down * share)
