"""Every reader opens an adapter file once and reads it at most once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import nn

from comfy_nodes.inspect_file import Inspect
from comfy_nodes.load import Load
from kohya_adapter import create_network_from_weights
from lycoris_ext.cli import config, info
from lycoris_ext.formats import save_adapter
from lycoris_ext.grids.checkpoints import list_run
from lycoris_ext.network import NetworkConfig, build_network, load_network
from lycoris_ext.training.start import read_start_weights
from lycoris_ext.training.start_config import StartConfig
from tests.reading import reading

#: What else is read meanwhile (modules that are imported late, a JSON config beside a file).
_SLACK = 50_000


def model() -> nn.Module:
    unet = nn.Module()
    unet.add_module("down_blocks", nn.Sequential(*(nn.Linear(512, 512) for _ in range(4))))
    return unet


UNET = model()


def load(path: Path) -> None:
    load_network(path, {"unet": UNET})


def load_for_kohya(path: Path) -> None:
    create_network_from_weights(1.0, path, None, None, UNET)


def write_config(path: Path) -> None:
    config.main([str(path), "--output", str(path.with_suffix(".toml"))])


READERS: dict[str, Callable[[Path], object]] = {
    "info": lambda path: info.main([str(path)]),
    "config": write_config,
    "the list of a run": lambda path: list_run(path.parent),
    "a network": load,
    "a run that goes on from it": lambda path: read_start_weights(
        StartConfig(network_weights=str(path))
    ),
    "kohya's create_network_from_weights": load_for_kohya,
    "ComfyUI's Load": lambda path: Load().read(path.parent.name),
    "ComfyUI's Inspect": lambda path: Inspect().tell(path.parent.name),
}


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_opens_an_adapter_file_once(
    reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build_network(
        {"unet": UNET}, NetworkConfig(algo="lora", network_dim=64, include=("down_blocks",))
    )
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)  # a fresh adapter is zero, and readers say so
    place = SimpleNamespace(get_full_path=lambda _, name: str(tmp_path / name / "mine.safetensors"))
    server = SimpleNamespace(PromptServer=SimpleNamespace(instance=None))
    monkeypatch.setitem(sys.modules, "folder_paths", place)
    monkeypatch.setitem(sys.modules, "server", server)
    files = [tmp_path / name / "mine.safetensors" for name in ("first", "second")]
    for path in files:
        path.parent.mkdir()
        save_adapter(path, network.adapter_state())
    READERS[reader](files[0])  # what the first call imports is not the file's
    with reading() as found:
        READERS[reader](files[1])
    assert found.opened.count(str(files[1])) == 1
    assert found.bytes_read is None or found.bytes_read < files[1].stat().st_size + _SLACK


def test_listing_a_run_does_not_read_a_whole_model_among_its_files(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    save_file(UNET.state_dict(), path)
    list_run(tmp_path)
    path.rename(tmp_path / "again.safetensors")
    with reading() as found:
        listed = list_run(tmp_path)
    assert "belongs to an adapter" in listed.refused[0][1]
    assert found.bytes_read is None or found.bytes_read < _SLACK
