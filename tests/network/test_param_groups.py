"""The learning rate of each model and text encoder."""

from __future__ import annotations

import pytest
from torch import nn

from lycoris_ext.errors import ConfigError
from lycoris_ext.network import NetworkConfig, build_network, load_network
from tests.network.models import TextEncoder, UNet


def test_each_model_has_its_learning_rate_and_rate_0_freezes_it(
    targets: dict[str, nn.Module],
) -> None:
    network = build_network(targets, NetworkConfig())
    groups = network.param_groups(1e-3, text_encoder_lr=5e-4)
    assert {group["name"]: group["lr"] for group in groups} == {"unet": 1e-3, "text_encoder": 5e-4}
    (group,) = network.param_groups(1e-3, text_encoder_lr=0.0)
    assert group["name"] == "unet"
    frozen = [p for p in network.parameters() if not p.requires_grad]
    assert len(frozen) == 4  # one text layer of LoHa
    with pytest.raises(ConfigError, match="every learning rate is 0"):
        network.param_groups(0.0)


def test_each_text_encoder_has_its_learning_rate() -> None:
    targets = {name: TextEncoder() for name in ("text_encoder", "text_encoder_3")}
    network = build_network({"unet": UNet(), **targets}, NetworkConfig())
    for given, expected in (([1.0, 2.0], (1.0, 2.0)), ([1.0], (1.0, 1.0)), ([], (9.0, 9.0))):
        rates = {g["name"]: g["lr"] for g in network.param_groups(9.0, text_encoder_lr=given)}
        assert (rates["text_encoder"], rates["text_encoder_3"]) == expected
        assert rates["unet"] == 9.0


def test_text_encoder_rates_go_by_the_position_among_the_given_models() -> None:
    encoders = {name: TextEncoder() for name in ("text_encoder", "text_encoder_2")}
    targets = {"unet": UNet(), **encoders}
    built = build_network(targets, NetworkConfig(exclude=(r"^text_encoder\.",)))
    for network in (built, load_network(built.adapter_state(), targets).requires_grad_(True)):
        groups = network.param_groups(9.0, text_encoder_lr=[1.0, 2.0])
        assert {g["name"]: g["lr"] for g in groups} == {"unet": 9.0, "text_encoder_2": 2.0}
    everything = build_network(targets, NetworkConfig())
    everything.leave_out(["text_encoder"])
    rates = {g["name"]: g["lr"] for g in everything.param_groups(9.0, text_encoder_lr=[1.0, 2.0])}
    assert rates["text_encoder_2"] == 2.0
