"""Merging a network into the base, and unmerging it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lycoris_ext.errors import ConfigError
from lycoris_ext.network import NetworkConfig, build_network


def test_unmerging_is_exact_and_can_be_repeated(targets: dict[str, nn.Module]) -> None:
    network = build_network(targets, NetworkConfig())
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    before = {key: tensor.clone() for key, tensor in targets["unet"].state_dict().items()}
    for _ in range(2):
        network.merge(0.7)
        assert not torch.equal(targets["unet"].conv_in.weight, before["conv_in.weight"])
        network.unmerge()
        after = targets["unet"].state_dict()
        assert all(torch.equal(after[key], tensor) for key, tensor in before.items())
    network.unmerge()  # nothing is merged: nothing happens


def test_merging_for_good_keeps_no_copy(targets: dict[str, nn.Module]) -> None:
    network = build_network(targets, NetworkConfig())
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(1, 8)
    layer = targets["unet"].attention.attn1.to_q
    with network.injected():
        wanted = layer(x)
    network.merge(keep=False)
    torch.testing.assert_close(layer(x), wanted)
    assert not network._kept
    with pytest.raises(ConfigError, match="merged or injected already"):
        network.merge()
    with pytest.raises(ConfigError, match="the old weights were not kept"):
        network.unmerge()


def test_after_forget_merge_the_network_can_be_merged_again(targets: dict[str, nn.Module]) -> None:
    network = build_network(targets, NetworkConfig())
    network.merge(keep=False)
    with pytest.raises(ConfigError, match="merged or injected already"):
        network.merge()
    network.forget_merge()
    network.merge()
