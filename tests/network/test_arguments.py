"""What is wrong with the arguments of build_network, load_network and save_adapter is said."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from lycoris_ext import AdapterState, load_adapter, load_network, save_adapter
from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.network import Network, NetworkConfig, build_network

CONFIG = NetworkConfig(network_dim=2)


def linear() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4)).requires_grad_(False)


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (linear(), r'Sequential is handed over without a name\n.*\{"unet": model\}'),
        (SimpleNamespace(unet=linear()), r'no dict of models.*\n.*\{"unet": pipeline\.unet\}'),
        ([linear()], "list is no dict"),
        (None, "None is no dict"),
        ({}, "no model is given"),
        ({"unet": None}, "targets, 'unet': None is no torch module"),
        ({"unet": "folder"}, "str is no torch module"),
        ({1: linear()}, "1 is no name of a model"),
        ({"a": None, "b": None}, "2 things are wrong"),
        (CONFIG, "NetworkConfig is no dict"),
    ],
)
@pytest.mark.parametrize(
    "call", [lambda targets: build_network(targets, CONFIG), lambda t: load_network("a", t)]
)
def test_targets_are_models_by_name(call: Any, targets: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        call(targets)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("UNet", "unet"),
        ("Unet", "unet"),
        ("u_net", "unet"),
        ("TextEncoder", "text_encoder"),
        ("text_encoder2", "text_encoder_2"),
        ("text_encoder_4", "text_encoder_"),
        ("diffusion-model", "diffusion_model"),
    ],
)
def test_a_name_like_that_of_a_known_model_is_refused(name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}'.*\n.*write '{near}"):
        build_network({name: linear()}, CONFIG)


@pytest.mark.parametrize(
    "name", ["model", "my_unet", "encoder", "transformer", "vit", "text", "net"]
)
def test_other_names_stand_for_plain_modules(name: str) -> None:
    network = build_network({name: linear()}, CONFIG)
    assert [*network.layers] == ["lycoris_0"]


def test_a_config_is_a_network_config() -> None:
    with pytest.raises(ConfigError, match="config: dict is no NetworkConfig"):
        build_network({"model": linear()}, {"algo": "lora"})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="source: Network is no AdapterState or Path or str"):
        load_network(build_network({"model": linear()}, CONFIG), {"model": linear()})  # type: ignore[arg-type]


def test_what_is_saved_is_the_content_of_a_file(tmp_path: Path) -> None:
    path, network = tmp_path / "a.safetensors", build_network({"model": linear()}, CONFIG)
    state = network.adapter_state()
    for arguments, words in (
        ((path, network), r"and Network are handed over.*\n.*network\.save\(path\)"),
        ((network, path), r"network\.save\(path\)"),
        ((state, path), r"write save_adapter\(path, state\)"),
        ((path, state.tensors), r"AdapterState\(tensors\)"),
    ):
        with pytest.raises(LycorisExtError, match=words):
            save_adapter(*arguments)  # type: ignore[arg-type]
    assert not path.exists()
    save_adapter(str(path), AdapterState(state.tensors))


def test_a_network_saves_itself_in_half_precision_unless_told_otherwise(tmp_path: Path) -> None:
    network = build_network({"model": linear()}, CONFIG)
    network.save(tmp_path / "new" / "a.safetensors", {"ss_training_comment": "mine"})
    state = load_adapter(tmp_path / "new" / "a.safetensors")
    assert state.metadata["ss_training_comment"] == "mine"
    assert {t.dtype for key, t in state.tensors.items() if "hada" in key} == {torch.float16}
    network.save(str(tmp_path / "b.safetensors"), dtype=None)
    assert (
        load_adapter(tmp_path / "b.safetensors").tensors["lycoris_0.hada_w1_a"].dtype
        == torch.float32
    )


@pytest.mark.parametrize(
    ("name", "better"), [("a.pt", "a"), ("a", "a"), ("ink.v2", "ink.v2"), ("a.bin", "a")]
)
def test_a_network_is_saved_under_a_name_that_hosts_know(
    name: str, better: str, tmp_path: Path
) -> None:
    network: Network = build_network({"model": linear()}, CONFIG)
    with pytest.raises(ConfigError, match=f"name it {better}.safetensors"):
        network.save(tmp_path / name)
    assert not [*tmp_path.iterdir()]
