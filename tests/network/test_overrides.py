"""Overrides give layers, chosen by a pattern, options of their own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lycoris_ext.errors import ConfigError
from lycoris_ext.network import LayerOverride, Network, NetworkConfig, build_network
from lycoris_ext.network.selection import layer_rates
from tests.network.models import TextEncoder, UNet


def build(*overrides: LayerOverride, **options: object) -> Network:
    targets = {"unet": UNet(), "text_encoder": TextEncoder()}
    config = NetworkConfig(**{"network_dim": 4, **options}, overrides=overrides)  # type: ignore[arg-type]
    return build_network(targets, config)


def plans(network: Network) -> dict[str, tuple[str, int, float]]:
    """Return name -> (algorithm, rank, alpha) of every adapted layer."""
    return {
        network.sites[key].name: (layer.plan.algorithm.name, layer.plan.rank, layer.plan.alpha)
        for key, layer in network.layers.items()
    }


def refused(*overrides: LayerOverride, **options: object) -> str:
    with pytest.raises(ConfigError) as caught:
        build(*overrides, **options)
    return str(caught.value)


def test_an_override_sets_algorithm_rank_alpha_and_options_of_its_layers() -> None:
    found = plans(
        build(
            LayerOverride(match="attn1", algo="lora", network_dim=2, network_alpha=0.5),
            LayerOverride(match=r"^unet\.block\.", algo="lokr", factor=2),
        )
    )
    assert found["unet.attention.attn1.to_q"] == ("lora", 2, 0.5)
    assert found["unet.block.conv1"][0] == "lokr"
    assert found["unet.conv_in"] == ("loha", 4, 1.0)
    assert found["text_encoder.attention.q_proj"] == ("loha", 4, 1.0)


def test_the_first_override_that_sets_an_option_decides_it() -> None:
    found = plans(
        build(
            LayerOverride(match=r"attention\.attn1", network_dim=2),
            LayerOverride(match="attention", network_dim=3, network_alpha=2.0),
        )
    )
    assert found["unet.attention.attn1.to_q"] == ("loha", 2, 2.0)
    assert found["unet.attention.proj_in"] == ("loha", 3, 2.0)


def test_an_override_to_lora_keeps_convolutions() -> None:
    """As the network's algorithm "lora" leaves convolutions out; in an override it does not."""
    assert plans(build(LayerOverride(match="unet", algo="lora")))["unet.block.conv1"][:2] == (
        "lora",
        4,
    )


def test_conv_dim_of_an_override_adapts_convolutions_that_had_no_rank() -> None:
    assert "unet.block.conv1" not in plans(build(algo="lora"))
    override = LayerOverride(match="block", network_dim=3)
    found = plans(build(override, algo="lora"))
    assert found["unet.block.conv_shortcut"][1] == 3 and "unet.block.conv1" not in found
    found = plans(build(LayerOverride(match="block", conv_dim=2, conv_alpha=0.5), algo="lora"))
    assert found["unet.block.conv1"] == ("lora", 2, 0.5)
    assert found["unet.block.conv_shortcut"] == ("lora", 4, 1.0)
    assert "unet.conv_in" not in found
    text = refused(LayerOverride(match="conv1", network_dim=3), algo="lora")
    assert "'conv1' fits no layer that is adapted (unet.block.conv1 is not)" in text
    assert "set conv_dim" in text


@pytest.mark.parametrize("nothing", [{"network_dim": 0}, {"learning_rate": 0.0}, {"lr_weight": 0}])
def test_an_override_with_rank_or_rate_0_leaves_its_layers_alone(nothing: dict[str, float]) -> None:
    found = plans(
        build(LayerOverride(match="attention", **nothing), LayerOverride(match="proj", factor=-1))
    )  # type: ignore[arg-type]
    assert set(found) == {"unet.conv_in", "unet.block.conv1", "unet.block.conv_shortcut"}


def test_an_override_sets_dropouts_scalar_and_bypass_mode_of_its_layers() -> None:
    network = build(
        LayerOverride(
            match="attn1", rank_dropout=0.5, use_scalar=True, bypass_mode=True, rs_lora=True
        )
    )
    layer = network.layers["lora_unet_attention_attn1_to_q"]
    other = network.layers["lora_unet_attention_proj_in"]
    assert layer.dropouts.rank_dropout == 0.5 and layer.scalar is not None and layer.bypass_mode
    assert layer.plan.alpha == 2.0  # 1 * sqrt(4)
    assert other.dropouts.rank_dropout == 0.0 and other.scalar is None and not other.bypass_mode


def test_an_override_sets_or_scales_the_learning_rate_of_its_layers() -> None:
    network = build(
        LayerOverride(match="attn1", learning_rate=5e-5),
        LayerOverride(match="attention", lr_weight=0.5),
        preset="full",
    )
    groups = network.param_groups(1e-3, text_encoder_lr=1e-4)
    rates = {group["name"]: (group["lr"], len(group["params"])) for group in groups}
    assert rates == {
        "unet": (1e-3, 12),
        "unet 0.0005": (5e-4, 4),  # half of the U-Net's rate
        "unet 2.5e-05": (2.5e-5, 4),  # half of its own
        "text_encoder 5e-05": (5e-5, 4),
    }
    held = [parameter for group in groups for parameter in group["params"]]
    assert len(held) == len(set(held)) == len(list(network.parameters()))


def test_overrides_can_say_what_sd_scripts_says_by_block() -> None:
    """block_dims, block_alphas, conv_block_dims, *_lr_weight; network_reg_dims and _reg_lrs."""
    by_block = [
        LayerOverride(match=r"unet\.block\.", network_dim=2, network_alpha=1, conv_dim=3,
                      conv_alpha=2, lr_weight=0.25),
        LayerOverride(match=r"unet\.attention\.", network_dim=3, network_alpha=1, conv_dim=0),
        LayerOverride(match=r"unet\.conv_in", network_dim=0),
    ]  # fmt: skip
    network = build(*by_block, algo="lora", network_train_unet_only=True)
    assert {name: plan[1:] for name, plan in plans(network).items()} == {
        "unet.block.conv1": (3, 2.0),
        "unet.block.conv_shortcut": (2, 1.0),
        "unet.attention.proj_in": (3, 1.0),
        "unet.attention.attn1.to_q": (3, 1.0),
    }
    assert {group["lr"] for group in network.param_groups(1.0)} == {1.0, 0.25}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"match": "("}, r"'\(' is no regular expression"),
        ({"match": "x"}, "sets nothing"),
        ({"match": "x", "network_dim": -1}, "network_dim is -1"),
        ({"match": "x", "conv_dim": -1}, "conv_dim is -1"),
        ({"match": "x", "network_alpha": 0.0}, "network_alpha is 0.0"),
        ({"match": "x", "network_alpha": float("inf")}, "network_alpha is inf"),
        ({"match": "x", "learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"match": "x", "lr_weight": float("nan")}, "lr_weight is nan"),
        ({"match": "x", "algo": "lohaa"}, "algo 'lohaa' is not supported"),
        ({"match": "x", "factor": 0}, "factor is 0, expected -1, or 1 or more"),
        ({"match": "x", "rank_dropout": 1.5}, "rank_dropout is 1.5"),
        ({"match": "x", "wd_on_output": True}, "wd_on_output: .*dora_wd is false"),
    ],
)
def test_wrong_values_of_an_override_are_refused_by_its_pattern(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        NetworkConfig(overrides=(LayerOverride(**settings),))  # type: ignore[arg-type]
    assert f'match = "{settings["match"]}"' in str(caught.value)


def test_an_override_that_fits_no_adapted_layer_is_refused() -> None:
    text = refused(LayerOverride(match="no_such_layer", network_dim=2))
    assert "'no_such_layer' fits no layer" in text and "patterns see names like" in text
    text = refused(LayerOverride(match="unet.other", network_dim=2))
    assert "fits no layer that is adapted (unet.other is not)" in text and "include" in text


def test_an_option_that_no_chosen_algorithm_has_is_refused() -> None:
    text = refused(factor=4)
    assert 'factor: algo = "loha" has no factor (first layer: unet.conv_in)' in text
    assert "an algorithm that has it: lokr" in text
    text = refused(LayerOverride(match="attn1", constraint=0.1))
    assert 'overrides, match = "attn1": constraint: algo = "loha" has no constraint' in text
    build(LayerOverride(match="attn1", algo="lokr"), factor=4)  # somebody reads it


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block_size": 0}, "block_size is 0"),
        ({"constraint": -0.1}, "constraint is -0.1"),
        ({"wd_on_output": True}, "wd_on_output says .*set dora_wd = true"),
        ({"rank_dropout": 1.0}, "rank_dropout is 1.0"),
        ({"network_alpha": float("inf")}, "network_alpha is inf"),
    ],
)
def test_options_out_of_range_or_without_what_they_need_are_refused(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        NetworkConfig(**options)  # type: ignore[arg-type]


def test_a_rank_above_every_layer_is_refused() -> None:
    text = refused(network_dim=9)
    assert "network_dim: rank 9 is larger than every layer it is for" in text
    assert "unet.conv_in, has a weight of 8 x 72" in text and "use 8 or less" in text
    assert "conv_dim: rank 9 is larger" in refused(conv_dim=9)
    text = refused(LayerOverride(match="to_q", network_dim=9))
    assert 'overrides, match = "to_q": rank: rank 9 is larger than every layer' in text
    build(algo="lokr", network_dim=10000)  # LyCORIS's way to ask for whole factors


@pytest.mark.parametrize("algo", ["tlora", "glora"])
def test_a_rank_above_every_layer_is_refused_for_tlora_and_glora(algo: str) -> None:
    model = nn.Sequential(nn.Linear(16, 24))
    with pytest.raises(ConfigError, match=r"rank 64 is larger.*24 x 16"):
        build_network({"model": model}, NetworkConfig(algo=algo, network_dim=64))


def test_bypass_mode_and_trained_normalisations_work_together() -> None:
    """bypass_mode is not refused for normalisations, which can be applied in one way alone."""
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8))
    network = build_network(
        {"model": model}, NetworkConfig(network_dim=2, bypass_mode=True, train_norm=True)
    )
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    before = model(x := torch.randn(2, 4))
    with network.injected():
        assert not torch.allclose(model(x), before)


def test_an_algorithm_or_option_that_a_layer_cannot_have_names_the_layer() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.Conv2d(8, 8, 3, groups=2))

    def refused(*overrides: LayerOverride, **options: Any) -> str:
        with pytest.raises(ConfigError) as caught:
            build_network(
                {"model": model}, NetworkConfig(network_dim=2, **options, overrides=overrides)
            )
        return str(caught.value)

    text = refused(LayerOverride(match="model.0", algo="norm"))
    assert 'model.0, overrides, match = "model.0": algo' in text and "normalisations" in text
    text = refused(LayerOverride(match="model.0", algo="diag-oft", network_dim=4), use_scalar=True)
    assert "model.0, use_scalar" in text


def test_a_rank_above_some_layers_alone_is_kept() -> None:
    """Other tools' files have the full rank even in conv_out, which has 4 outputs."""
    model = nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 4))
    network = build_network({"model": model}, NetworkConfig(network_dim=8))
    assert {layer.plan.rank for layer in network.layers.values()} == {8}


def test_bypass_mode_never_builds_the_matrix_of_the_update(monkeypatch: pytest.MonkeyPatch) -> None:
    from lycoris_ext.functional import Hadamard

    module = nn.Sequential(nn.Linear(24, 24))
    config = {"algo": "loha", "network_dim": 20}  # so many that the merged way is cheaper
    built = []
    matrix = Hadamard.matrix
    monkeypatch.setattr(Hadamard, "matrix", lambda self, *t: built.append(1) or matrix(self, *t))
    outs = []
    for bypass in (False, True):
        network = build_network({"model": module}, NetworkConfig(**config, bypass_mode=bypass))  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(1)
        for parameter in network.parameters():
            parameter.data.normal_(0, 0.1, generator=generator)
        built.clear()
        with network.injected():
            out = module(torch.linspace(-1, 1, 240).reshape(10, 24))
            out.sum().backward()
        assert bool(built) is not bypass
        outs.append(out)
    torch.testing.assert_close(*outs)


def test_bypass_mode_on_a_grouped_convolution_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=2))
    with pytest.raises(ConfigError) as caught:
        build_network({"model": model}, NetworkConfig(network_dim=2, bypass_mode=True))
    text = str(caught.value)
    assert "model.0, bypass_mode" in text and "a grouped convolution cannot be computed so" in text
    assert "exclude the layer" in text


def test_rank_dropout_scale_enlarges_the_rows_that_are_kept() -> None:
    module = nn.Sequential(nn.Linear(6, 50))
    options = {"network_dim": 2, "rank_dropout": 0.5, "rank_dropout_scale": True}
    network = build_network({"model": module}, NetworkConfig(**options))  # type: ignore[arg-type]
    (layer,) = network.layers.values()
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    whole = layer.plan.delta(layer.tensors()).dense()
    dropped = layer.train().delta().dense()
    kept = dropped.abs().sum(1) > 0
    assert 0 < kept.sum() < 50
    torch.testing.assert_close(dropped[kept], whole[kept] * 50 / kept.sum())
    layer.dropouts = type(layer.dropouts)(rank_dropout=0.999999, rank_dropout_scale=True)
    assert torch.isfinite(layer.delta().dense()).all()  # nothing is left, and nothing is NaN


def test_layer_rates_gives_the_layers_of_a_file_the_rates_of_the_overrides() -> None:
    network = build(LayerOverride(match="attn1", algo="lokr", learning_rate=5e-5, lr_weight=2.0))
    rates = layer_rates(
        network.sites, NetworkConfig(overrides=(LayerOverride(match="conv", lr_weight=0),))
    )
    assert rates["lora_unet_conv_in"].of(1.0) == 0.0
    assert rates["lora_unet_attention_proj_in"].of(1.0) == 1.0
    assert network.rates["lora_unet_attention_attn1_to_q"].of(1.0) == 1e-4
