"""Embeddings and transposed convolutions are adapted where a pattern asks for them, only there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from lycoris_ext.errors import ConfigError, FormatError
from lycoris_ext.formats.summary import summarize
from lycoris_ext.network import NetworkConfig, build_network, load_network
from lycoris_ext.network.presets import PRESETS
from tests.network.models import TextEncoder


class Decoder(nn.Module):
    """Words, a Linear, and two ways up."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict(
            {"token": nn.Embedding(9, 8), "position": nn.Embedding(4, 8)}
        )
        self.head = nn.Linear(8, 8)
        self.up = nn.ModuleList([nn.Conv2d(8, 8, 1), nn.ConvTranspose2d(8, 8, 2)])


@pytest.mark.parametrize(
    ("include", "added"),
    [
        (("embeddings",), ["embeddings_token", "embeddings_position"]),
        ((r"token$",), ["embeddings_token"]),
        ((r"up\.1",), ["up_1"]),
        (("embeddings", r"up\.1"), ["embeddings_token", "embeddings_position", "up_1"]),
        (("model",), []),
        ((".*", "up"), []),  # both fit layers of other kinds, too
    ],
)
def test_only_a_pattern_that_fits_nothing_else_asks_for_them(
    include: tuple[str, ...], added: list[str]
) -> None:
    targets = {"model": Decoder().requires_grad_(False)}
    usual = build_network(targets, NetworkConfig(), warn=False).layers.keys()
    network = build_network(targets, NetworkConfig(include=include), warn=False)
    assert network.layers.keys() - usual == {f"lycoris_{name}" for name in added}
    left = {"embeddings_token", "embeddings_position", "up_1"} - set(added)
    assert {name.replace(".", "_") for name in network.skipped} == {f"model_{n}" for n in left}
    assert len(network.notices) == bool(left)
    without = NetworkConfig(include=include, exclude=("embeddings|up",))
    if len(added) < 3:
        assert build_network(targets, without, warn=False).layers.keys() == {"lycoris_head"}


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_no_preset_selects_them(preset: str) -> None:
    text = TextEncoder()
    plain = {"text_encoder": text, "model": nn.Sequential(nn.Linear(8, 8))}
    config = NetworkConfig(preset=preset, include=("^model", "q_proj"))
    usual = build_network(plain, config, warn=False).layers.keys()
    text.token_embedding, text.attention.up = nn.Embedding(9, 8), nn.ConvTranspose1d(8, 8, 1)
    assert build_network(plain, config, warn=False).layers.keys() == usual
    only = NetworkConfig(preset="none", include=("token_embedding",))
    assert [*build_network({"text_encoder": text}, only, warn=False).layers] == [
        "lora_te_text_model_token_embedding"
    ]


def test_a_file_says_which_words_it_has(tmp_path: Path) -> None:
    model = Decoder().requires_grad_(False)
    config = NetworkConfig(algo="lora", network_dim=2, preset="none", include=("token",))
    network = build_network({"model": model}, config, warn=False)
    network.save(tmp_path / "a.safetensors")
    assert summarize(tmp_path / "a.safetensors").algorithms == ("lora",)
    shapes = {key: tuple(t.shape) for key, t in network.adapter_state().tensors.items()}
    assert shapes["lycoris_embeddings_token.lora_down.weight"] == (2, 9)
    assert shapes["lycoris_embeddings_token.lora_up.weight"] == (8, 2)
    model.embeddings["token"] = nn.Embedding(10, 8)
    with pytest.raises(FormatError, match=r"lora_down\.weight has shape \(2, 9\).*\(2, 10\)"):
        load_network(tmp_path / "a.safetensors", {"model": model})


def test_a_shared_embedding_is_injected_and_not_merged() -> None:
    model = nn.Module()
    model.words, model.head = nn.Embedding(9, 8), nn.Linear(8, 9, bias=False)
    model.head.weight = model.words.weight
    network = build_network(
        {"model": model.requires_grad_(False)}, NetworkConfig(preset="none", include=("words",))
    )
    with network.injected():
        model.words(torch.tensor([1]))
    with pytest.raises(ConfigError, match=r"also that of model\.head"):
        network.merge()
