"""Which layers a config adapts, and with which initial values."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lycoris_ext.errors import ConfigError, FormatError
from lycoris_ext.network import NetworkConfig, NetworkWarning, build_network, load_network
from lycoris_ext.network.sites import all_sites
from tests.network.models import UNet

UNET = {
    "conv_in",
    "block.conv1",
    "block.conv_shortcut",
    "attention.proj_in",
    "attention.attn1.to_q",
}
LINEAR = {"block.conv_shortcut", "attention.proj_in", "attention.attn1.to_q"}
TEXT = {"attention.q_proj"}
EXPECTED = {
    "full": UNET | TEXT,
    "full-lin": LINEAR | TEXT,
    "attn-mlp": {"attention.proj_in", "attention.attn1.to_q"} | TEXT,
    "blocks": UNET - {"conv_in"} | TEXT,
    "attn-only": {"attention.attn1.to_q"} | TEXT,
    "unet-only": UNET,
    "unet-transformer-only": {"attention.proj_in", "attention.attn1.to_q"},
    "unet-convblock-only": {"conv_in", "block.conv1", "block.conv_shortcut"},
}


@pytest.mark.parametrize("preset", EXPECTED)
def test_each_preset_adapts_its_layers(targets: dict[str, nn.Module], preset: str) -> None:
    network = build_network(targets, NetworkConfig(preset=preset))
    assert {site.path for site in network.sites.values()} == EXPECTED[preset]


@pytest.mark.parametrize(
    ("algo", "conv_dim", "has_conv"),
    [("lora", None, False), ("lora", 4, True), ("locon", None, True), ("loha", None, True)]
    + [(algo, 0, False) for algo in ("lora", "locon", "loha")],
)
def test_the_default_of_conv_dim_depends_on_the_algorithm(
    targets: dict[str, nn.Module], algo: str, conv_dim: int | None, has_conv: bool
) -> None:
    network = build_network(targets, NetworkConfig(algo=algo, network_dim=6, conv_dim=conv_dim))
    ranks = {site.path: network.layers[key].plan.rank for key, site in network.sites.items()}
    assert ("block.conv1" in ranks) is has_conv
    assert ranks["block.conv_shortcut"] == 6  # 1x1 convolutions take the linear rank
    if has_conv:
        assert ranks["block.conv1"] == (conv_dim or 6)


def test_the_preset_none_adapts_what_include_names_and_nothing_else(
    targets: dict[str, nn.Module],
) -> None:
    for models in (targets, {"model": targets["unet"]}):
        config = NetworkConfig(preset="none", include=("conv1", "other"))
        network = build_network(models, config)
        assert {site.path for site in network.sites.values()} == {"block.conv1", "other"}
    with pytest.raises(ConfigError, match="'none' selects no layer"):
        build_network(targets, NetworkConfig(preset="none"))


def test_include_adds_layers_and_exclude_removes_them(targets: dict[str, nn.Module]) -> None:
    config = NetworkConfig(preset="attn-only", include=("unet.other",), exclude=(r"^text_encoder",))
    network = build_network(targets, config)
    assert {s.path for s in network.sites.values()} == {"attention.attn1.to_q", "other"}


@pytest.mark.parametrize("option", ["include", "exclude"])
def test_a_pattern_that_fits_nothing_is_an_error(
    targets: dict[str, nn.Module], option: str
) -> None:
    config = NetworkConfig(**{option: ("no_such_layer",)})
    with pytest.raises(ConfigError, match="'no_such_layer' fits no layer"):
        build_network(targets, config)


def test_a_spatial_layer_by_name_without_conv_dim_is_an_error(
    targets: dict[str, nn.Module],
) -> None:
    config = NetworkConfig(algo="lora", include=("block.conv1",))
    with pytest.raises(ConfigError, match=r"unet\.block\.conv1.*convolutions have no rank"):
        build_network(targets, config)


def test_the_options_unet_only_and_text_encoder_only_adapt_that_model_alone(
    targets: dict[str, nn.Module],
) -> None:
    unet = build_network(targets, NetworkConfig(network_train_unet_only=True))
    text = build_network(targets, NetworkConfig(network_train_text_encoder_only=True))
    assert {site.target for site in unet.sites.values()} == {"unet"}
    assert {site.target for site in text.sites.values()} == {"text_encoder"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algo": "lohaa"}, "algo 'lohaa' is not supported.*loha"),
        ({"preset": "ful"}, "unknown preset 'ful'.*full-lin"),
        ({"network_dim": 0}, "network_dim is 0, expected 1 or more"),
        ({"conv_dim": -1}, "conv_dim is -1, expected 0 or more"),
        ({"network_alpha": 0.0}, "network_alpha is 0.0, expected a number above 0"),
        ({"include": ("(",)}, "no regular expression"),
        (
            {"network_train_unet_only": True, "network_train_text_encoder_only": True},
            "exclude each other",
        ),
    ],
)
def test_wrong_and_contradicting_network_options_are_refused(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        NetworkConfig(**options)  # type: ignore[arg-type]


def test_out_proj_of_multihead_attention_is_left_alone() -> None:
    model = nn.Sequential(nn.MultiheadAttention(4, 1), nn.Linear(8, 8))
    assert set(all_sites({"model": model})) == {"lycoris_1"}


def test_two_layers_with_one_key_are_refused() -> None:
    model = nn.ModuleDict({"a": nn.ModuleDict({"b": nn.Linear(2, 2)}), "a_b": nn.Linear(2, 2)})
    with pytest.raises(FormatError, match=r"model\.a\.b and model\.a_b share this key"):
        all_sites({"model": model})


def test_a_denoiser_that_is_no_unet_is_adapted_whole(targets: dict[str, nn.Module]) -> None:
    """Its keys are those of ComfyUI, with dots."""
    model = nn.Module()
    model.double_blocks = nn.ModuleList([nn.Linear(4, 4)])
    model.final_layer = nn.Linear(4, 6)
    config = NetworkConfig(network_dim=2, preset="attn-only")
    with pytest.warns(NetworkWarning, match='selects the same as "full"'):
        network = build_network({"diffusion_model": model}, config)
    assert list(network.layers) == [
        "diffusion_model.double_blocks.0",
        "diffusion_model.final_layer",
    ]
    with torch.no_grad():
        for layer in network.layers.values():
            for tensor in layer.tensors().values():
                tensor.add_(0.1)
    groups = network.param_groups(1e-3, unet_lr=5e-4)
    assert [group["lr"] for group in groups] == [5e-4]
    state = network.adapter_state(dtype=None)
    again = load_network(state, {"diffusion_model": model})
    for key, layer in again.layers.items():
        for name, tensor in layer.tensors().items():
            assert torch.equal(tensor, network.layers[key].tensors()[name])
    assert network.state_dict().keys() == again.state_dict().keys()


def test_a_layer_starts_the_same_whatever_else_is_adapted(targets: dict[str, nn.Module]) -> None:
    everything = build_network(targets, NetworkConfig(), seed=5)
    attention = build_network(targets, NetworkConfig(preset="attn-only"), seed=5)
    for key, tensor in attention.state_dict().items():
        assert torch.equal(tensor, everything.state_dict()[key])
    other = build_network(targets, NetworkConfig(), seed=6)
    assert not torch.equal(
        next(iter(other.state_dict().values())), next(iter(everything.state_dict().values()))
    )


def test_a_network_over_a_model_on_meta_stays_on_meta() -> None:
    with torch.device("meta"):
        model = UNet()
    network = build_network({"unet": model}, NetworkConfig())
    assert all(parameter.is_meta for parameter in network.parameters())
    assert network.parameter_count() > 0


def test_leave_out_removes_the_layers_of_a_model(targets: dict[str, nn.Module]) -> None:
    network = build_network(targets, NetworkConfig())
    assert network.targets == ("unet", "text_encoder")
    network.leave_out(["text_encoder", "text_encoder_2"])
    assert network.targets == ("unet",)
    assert all(key.startswith("lora_unet_") for key in network.state_dict())
    with pytest.raises(ConfigError, match="adapts only unet"):
        network.leave_out(["unet"])
    both = build_network(targets, NetworkConfig())
    with both.injected(), pytest.raises(ConfigError, match="injected already"):
        both.leave_out(["unet"])
