"""A training that continues a file says in its metadata what the network is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from kohya_adapter.arguments import read_arguments
from lycoris_ext.errors import FormatError
from lycoris_ext.formats import AdapterState, load_adapter, save_adapter
from tests.kohya_models import METADATA, MODULE, Models, create, disturb, tiny_models


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return tiny_models(tmp_path_factory.mktemp("models"))


def saved(network: Any, path: Path, given: dict[str, object]) -> dict[str, str]:
    """Save as the trainer does, with what the user gave; return the file's ss_network_args."""
    metadata = {**METADATA, "ss_network_args": json.dumps(given)}
    network.save_weights(path, torch.float32, metadata)
    text = load_adapter(path).metadata["ss_network_args"]
    found: dict[str, str] = json.loads(text)
    return found


CASES: list[dict[str, Any]] = [
    {"algo": "loha", "conv_dim": "2", "conv_alpha": "1"},
    {"algo": "loha", "conv_dim": "2", "use_tucker": "True", "preset": "unet-only"},
    {"algo": "lokr", "factor": "2", "conv_dim": "2", "full_matrix": "True"},
    {"algo": "lora", "conv_dim": "0", "dora_wd": "True", "wd_on_output": "True"},
    {"algo": "locon", "conv_dim": "4", "train_norm": "True", "exclude": "mid_block"},
    {"algo": "diag-oft", "preset": "attn-only"},
    {"algo": "full"},
]


@pytest.mark.parametrize("given", CASES, ids=lambda case: case["algo"])
def test_a_continued_file_holds_the_options_of_its_network(
    models: Models, tmp_path: Path, given: dict[str, Any]
) -> None:
    network = create(models, **given)
    disturb(network)
    path = tmp_path / "first.safetensors"
    first = saved(network, path, given)
    again, _ = MODULE.create_network_from_weights(
        1, str(path), models.vae, models.passed, models.unet
    )
    told = saved(again, tmp_path / "second.safetensors", {})
    assert told["preset"] == first["preset"] and told.get("exclude") == first.get("exclude")
    arguments = read_arguments(4, 2.0, None, told)
    rebuilt = create(models, **told)
    assert arguments.config.algo == network_algo(given)
    assert rebuilt.layers.keys() == network.layers.keys()
    for key, layer in network.layers.items():
        assert rebuilt.layers[key].plan.shapes() == layer.plan.shapes(), key
        assert rebuilt.layers[key].plan.scale == layer.plan.scale, key


def network_algo(given: dict[str, Any]) -> str:
    return "lora" if given["algo"] == "locon" else str(given["algo"])


def test_what_the_tensors_tell_counts_more_than_what_the_user_says(
    models: Models, tmp_path: Path
) -> None:
    network = create(models, algo="loha", conv_dim="2", conv_alpha="1")
    path = tmp_path / "first.safetensors"
    saved(network, path, {})
    given = {"algo": "lora", "conv_dim": "8", "dropout": "0.1", "preset": "attn-only"}
    again, _ = MODULE.create_network_from_weights(
        1, str(path), models.vae, models.passed, models.unet, **given
    )
    told = saved(again, tmp_path / "second.safetensors", {**given})
    assert told["algo"] == "loha" and told["conv_dim"] == "2" and told["conv_alpha"] == "1.0"
    assert told["dropout"] == "0.1"
    assert told["preset"] == "full", "the choice of layers is the file's, too"


def test_a_file_without_metadata_can_be_continued(models: Models, tmp_path: Path) -> None:
    network = create(models, algo="loha")
    network.save_weights(tmp_path / "first.safetensors", None, None)
    again, _ = MODULE.create_network_from_weights(
        1, str(tmp_path / "first.safetensors"), models.vae, models.passed, models.unet
    )
    told = saved(again, tmp_path / "second.safetensors", {})
    assert told["algo"] == "loha" and "preset" not in told


@pytest.mark.parametrize("for_inference", [False, True])
def test_a_file_of_textual_inversions_alone_is_refused(
    models: Models, tmp_path: Path, for_inference: bool
) -> None:
    words = {"bundle_emb.tilty.string_to_param.*": torch.randn(2, 8)}
    save_adapter(tmp_path / "words.safetensors", AdapterState(words))
    with pytest.raises(FormatError, match=r"words\.safetensors: the file holds textual inversions"):
        MODULE.create_network_from_weights(
            1,
            str(tmp_path / "words.safetensors"),
            models.vae,
            models.passed,
            models.unet,
            for_inference=for_inference,
        )
