"""Files that sd-scripts' own networks.lora trains and writes are read here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lycoris_ext.cli.config import main as write_config
from lycoris_ext.config import build_config, read_toml
from lycoris_ext.formats import AdapterState, load_adapter, save_adapter
from lycoris_ext.formats.adapter_file import read_adapter_file
from lycoris_ext.formats.hashes import legacy_hash, sha256_of_files
from lycoris_ext.formats.summary import summarize
from lycoris_ext.models import build_meta
from lycoris_ext.network import load_network
from tests.hosts.base_model import base_model
from tests.hosts.checkouts import Checkout, Run
from tests.hosts.sd_scripts import generate, step_seconds, train_network
from tests.tiny_pictures import write_pictures

pytestmark = pytest.mark.hosts

#: Of SD1.x's blocks, convolutions included.
LAYERS = {"unet": 278, "text_encoder": 72}


@pytest.fixture(scope="module")
def training(sd_scripts: Checkout, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """Train two steps of networks.lora with convolutions; return the run and the file."""
    folder = tmp_path_factory.mktemp("networks_lora")
    pictures = write_pictures(folder / "pictures", size=(64, 64))
    more = ("--network_args", "conv_dim=4", "conv_alpha=1")
    run = train_network(sd_scripts, pictures, folder, "networks.lora", *more)
    return run, folder / "network.safetensors"


@pytest.fixture(scope="module")
def trained(training: tuple[Run, Path]) -> Path:
    return training[1]


def test_networks_lora_trains_two_steps_in_this_checkout(
    training: tuple[Run, Path], record_property: Any
) -> None:
    run, _ = training
    steps = step_seconds(run)
    assert len(steps) == 2
    record_property("step_seconds", [round(seconds, 2) for seconds in steps])
    record_property("peak_gb", run.peak and round(run.peak / 1e9, 2))


def test_every_layer_of_a_networks_lora_file_is_placed(trained: Path, record_property: Any) -> None:
    summary = summarize(trained)
    record_property("data_sha256", read_adapter_file(trained).data_hash())
    assert summary.modules == LAYERS
    assert summary.keys == ("kohya",)
    assert summary.algorithms == ("locon",)
    assert {(group.rank, group.alpha) for group in summary.layers} == {(8, 4.0), (4, 1.0)}
    assert len(load_network(trained, build_meta("sd1")).layers) == sum(LAYERS.values())


def test_our_hashes_are_those_of_sd_scripts(trained: Path, tmp_path: Path) -> None:
    theirs = load_adapter(trained)
    plain = {key: text for key, text in theirs.metadata.items() if not key.startswith("sshs_")}
    save_adapter(tmp_path / "again.safetensors", AdapterState(theirs.tensors, plain))
    ours = load_adapter(tmp_path / "again.safetensors").metadata
    for name in ("sshs_model_hash", "sshs_legacy_hash"):
        assert ours[name] == theirs.metadata[name]
    assert summarize(trained).hash.agrees
    base = base_model("sd1")
    assert theirs.metadata["ss_sd_model_hash"] == legacy_hash(base)
    assert theirs.metadata["ss_new_sd_model_hash"] == sha256_of_files(base)
    assert theirs.metadata["ss_sd_model_name"] == base.name


def test_the_config_read_from_the_file_would_train_it_again(trained: Path, tmp_path: Path) -> None:
    output = tmp_path / "again.toml"
    assert write_config([str(trained), "--output", str(output)]) == 0
    config = build_config([read_toml(output)])
    network = config.network
    assert (network.algo, network.network_dim, network.network_alpha) == ("locon", 8, 4.0)
    assert (network.conv_dim, network.conv_alpha) == (4, 1.0)
    assert (config.data.size, config.run.seed, config.run.max_train_steps) == ((64, 64), 1, 2)
    assert config.optimizer.optimizer_type == "AdamW"


def test_gen_img_draws_another_picture_with_the_file_of_networks_lora(
    sd_scripts: Checkout, trained: Path, tmp_path: Path
) -> None:
    with_it = generate(sd_scripts, tmp_path / "with", "networks.lora", trained, multiplier=50)
    without = generate(sd_scripts, tmp_path / "without")
    assert with_it.size == without.size == (64, 64)
    assert with_it.tobytes() != without.tobytes()
