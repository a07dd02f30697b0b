"""What build_network warns of: models that learn, layers without adapters, presets of others."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
from torch import nn

from lycoris_ext.errors import ConfigError
from lycoris_ext.network import NetworkConfig, NetworkWarning, build_network
from lycoris_ext.network.presets import PRESETS
from lycoris_ext.training.notes import network_notes
from tests.network.models import TextEncoder, UNet


class Mixed(nn.Module):
    """One layer of each kind that no preset selects, and one Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 8)
        self.attention = nn.MultiheadAttention(8, 2)
        self.up = nn.ConvTranspose2d(8, 8, 2)
        self.memory = nn.LSTM(8, 8)
        self.pair = nn.Bilinear(8, 8, 8)
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 8)


REASONS = {
    "model.table": "only if a pattern of include fits it",
    "model.attention": "without calling a layer",
    "model.up": "only if a pattern of include fits it",
    "model.memory": "all of its weights in one step",
    "model.pair": "of a kind",
}


@pytest.fixture
def no_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_a_base_that_learns_is_told_and_left_as_it_is() -> None:
    unet, text = UNet(), TextEncoder().requires_grad_(False)
    text.attention.q_proj.bias.requires_grad_()
    with pytest.warns(NetworkWarning, match="12 parameters of unet, 1 parameter of text_encoder"):
        build_network({"unet": unet, "text_encoder": text}, NetworkConfig())
    assert all(parameter.requires_grad for parameter in unet.parameters())


@pytest.mark.usefixtures("no_warning")
def test_a_base_that_does_not_learn_or_is_frozen_gives_no_warning() -> None:
    unet = UNet()
    build_network({"unet": unet}, NetworkConfig(), freeze=True)
    assert not any(parameter.requires_grad for parameter in unet.parameters())
    build_network({"unet": unet}, NetworkConfig())
    unet.requires_grad_(True)
    build_network({"unet": unet}, NetworkConfig(), warn=False)


def test_each_kind_that_gets_no_adapter_is_named_with_the_reason() -> None:
    with pytest.warns(NetworkWarning, match="5 layers get no adapter") as caught:
        network = build_network({"model": Mixed()}, NetworkConfig(), freeze=True)
    assert [*network.layers] == ["lycoris_head"]
    assert network.skipped.keys() == REASONS.keys()
    for name, why in REASONS.items():
        assert why in network.skipped[name]
        assert f"{name} ({type(Mixed().get_submodule(name[6:])).__name__} " in str(
            caught[0].message
        )


@pytest.mark.usefixtures("no_warning")
def test_kinds_that_are_excluded_or_in_stable_diffusion_are_not_told() -> None:
    exclude = tuple(f"{name}$" for name in REASONS)
    with pytest.raises(ConfigError, match="fits only what cannot be adapted"):
        build_network({"model": Mixed()}, NetworkConfig(exclude=exclude), freeze=True)
    text = TextEncoder()
    text.token_embedding = nn.Embedding(5, 8)
    network = build_network({"text_encoder": text}, NetworkConfig(), freeze=True)
    assert [*network.skipped] == ["text_encoder.token_embedding"]


@pytest.mark.usefixtures("no_warning")
def test_a_run_notes_what_a_program_is_warned_of() -> None:
    network = build_network({"model": Mixed()}, NetworkConfig(preset="ia3"), warn=False)
    assert len(network.notices) == 2
    assert [*network_notes(network)] == [*network.notices]


def test_a_pattern_that_fits_only_such_kinds_says_so() -> None:
    model = nn.Sequential(nn.Embedding(5, 8, max_norm=1.0), nn.LSTM(8, 8))
    for config in (NetworkConfig(include=(".*",)), NetworkConfig()):
        with pytest.raises(ConfigError, match=r"model\.0 \(Embedding shortens vectors"):
            build_network({"model": model}, config)
    with pytest.raises(ConfigError, match=r"selects no layer .* pattern of include fits it"):
        build_network({"model": nn.Sequential(nn.Embedding(5, 8))}, NetworkConfig())
    with pytest.raises(ConfigError, match=r"'attention' fits only .* model\.attention \(Multihead"):
        build_network({"model": Mixed()}, NetworkConfig(include=("attention",)))
    with pytest.raises(ConfigError, match="'nowhere' fits no layer"):
        build_network({"model": Mixed()}, NetworkConfig(include=("nowhere",)))


@pytest.mark.parametrize("preset", sorted(PRESETS.keys() - {"full", "none"}))
def test_a_preset_for_u_nets_says_that_it_selects_the_same_as_full(preset: str) -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Conv2d(8, 8, 3))
    with pytest.warns(NetworkWarning, match=f'preset "{preset}" names layers of Stable') as caught:
        network = build_network({"model": model}, NetworkConfig(preset=preset), freeze=True)
    full = build_network({"model": model}, NetworkConfig(), freeze=True)
    told_of_convolutions = "apart from convolutions" in str(caught[0].message)
    assert (network.layers.keys() != full.layers.keys()) == told_of_convolutions
    with pytest.warns(NetworkWarning, match=r'the same as "full"; exclude'):
        build_network({"model": model[:1]}, NetworkConfig(preset=preset), freeze=True)


def test_a_model_of_other_classes_than_the_preset_names_is_told() -> None:
    targets = {"unet": UNet(), "text_encoder": nn.Sequential(nn.Linear(8, 8))}
    with pytest.warns(NetworkWarning, match="no layer of text_encoder gets an adapter"):
        build_network(targets, NetworkConfig(), freeze=True)


@pytest.mark.usefixtures("no_warning")
@pytest.mark.parametrize(
    "options", [{"preset": "unet-only"}, {"network_train_unet_only": True}, {}]
)
def test_models_that_are_left_out_on_purpose_are_not_told(options: dict[str, object]) -> None:
    text = TextEncoder() if not options else nn.Sequential(nn.Linear(8, 8))
    config = NetworkConfig(**options)  # type: ignore[arg-type]
    build_network({"unet": UNet(), "text_encoder": text}, config, freeze=True)


def test_a_summary_is_short_and_says_how_much_is_trained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    unet = UNet()
    network = build_network({"unet": unet}, NetworkConfig(network_dim=2), freeze=True)
    network.print_summary()
    learning = sum(p.numel() for p in network.parameters())
    total = sum(p.numel() for p in unet.parameters())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"loha on {len(network.layers)} layers of unet"
    assert lines[1] == "rank 2, alpha 1"
    assert lines[2].startswith(f"trained: {learning:,} numbers, ")
    assert f"{100 * learning / total:.4g} % of the models' {total:,}" in lines[2]
    assert lines[3].startswith(f"in a file: {network.parameter_count():,} numbers")
    assert repr(network) == f"<Network: {lines[0]}, off>"
    with network.injected():
        assert repr(network).endswith("injected>")
    network.requires_grad_(False).print_summary()
    assert "trained: 0 numbers" in capsys.readouterr().out
