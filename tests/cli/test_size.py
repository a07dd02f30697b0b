"""`lycoris-ext size` against sizes counted by building a peer's real networks."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from lycoris_ext.cli.size import file_bytes, main
from lycoris_ext.errors import ConfigError
from lycoris_ext.models import build_meta

ROWS = json.loads(
    (Path(__file__).parent.parent / "oracles" / "sd15_sizes.json").read_text(encoding="utf-8")
)["rows"]


@pytest.fixture(autouse=True, scope="module")
def build_once():
    """Build the models on meta once for all rows of the oracle."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lycoris_ext.cli.size.build_meta", functools.cache(build_meta))
        yield


def _arguments(algorithm: str, dims: str, preset: str) -> list[str]:
    algo, _, form = algorithm.partition(" ")
    dim, conv_dim = dims.split("/")
    preset, _, unet_only = preset.partition(", ")
    arguments = ["--family", "sd15", "--algo", algo, "--dim", dim, "--conv-dim", conv_dim]
    arguments += ["--preset", preset, "--json"]
    return arguments + ["--tucker"] * bool(form) + ["--no-text-encoder"] * bool(unet_only)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(map(str, row[:3])))
def test_sizes_are_those_of_networks_that_a_peer_built(row, capsys):
    algorithm, dims, preset, text_encoder, unet, parameters, megabytes = row
    assert main(_arguments(algorithm, dims, preset)) == 0
    size = json.loads(capsys.readouterr().out)
    assert size["modules"] == {"unet": unet, "text_encoder": text_encoder}
    assert size["parameters"] == parameters
    assert size["bytes"] / 1e6 == pytest.approx(megabytes, abs=0.0051)


def test_file_bytes_are_those_of_a_real_file():
    shapes = {"b.alpha": (), "b.hada_w1_a": (8, 3), "a.lora_down.weight": (4, 3, 3, 3)}
    tensors = {key: torch.zeros(shape, dtype=torch.float16) for key, shape in shapes.items()}
    assert file_bytes(shapes) == len(safetensors.torch.save(tensors))


def test_size_prints_the_number_of_parameters(capsys):
    assert main(["--algo", "lora", "--dim", "8", "--preset", "attn-only"]) == 0
    assert "2,184,192" in capsys.readouterr().out


def test_unknown_preset_is_an_error():
    with pytest.raises(ConfigError, match="unknown preset 'ful'"):
        main(["--preset", "ful"])
