"""Every reader opens an adapter file once, reads it at most once, and tells of damage."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import nn

from comfy_nodes.inspect_file import Inspect
from comfy_nodes.load import Load
from kohya_adapter import create_network, create_network_from_weights
from lycoris_ext.cli import config, info
from lycoris_ext.formats import load_adapter, save_adapter
from lycoris_ext.grids.checkpoints import RunFiles, list_run
from lycoris_ext.grids.fit import HostTraits, check_fit
from lycoris_ext.network import NetworkConfig, build_network, load_network
from lycoris_ext.sampling.adapters import AdapterUse, refuse_unreadable
from lycoris_ext.training.start import read_start_weights
from lycoris_ext.training.start_config import StartConfig
from tests.reading import reading
from webui_extension.tables import run_table

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


def load_weights(path: Path) -> None:
    options = {"algo": "lora", "include": "down_blocks"}
    network = create_network(1.0, 64, 1.0, None, None, UNET, **options)
    network.load_weights(path)


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


def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Write two adapters, and let ComfyUI's nodes find them by the names of their folders."""
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
    return files


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_opens_an_adapter_file_once(
    reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = written(tmp_path, monkeypatch)
    READERS[reader](files[0])  # what the first call imports is not the file's
    with reading() as found:
        READERS[reader](files[1])
    assert found.opened.count(str(files[1])) == 1
    assert found.bytes_read is None or found.bytes_read < files[1].stat().st_size + _SLACK


def said_by(run: RunFiles) -> str:
    """What the tab of the web UIs shows of a run."""
    return run_table(run)


TELLERS: dict[str, Callable[[Path], object]] = {
    **READERS,
    "the list of a run": lambda path: said_by(list_run(path.parent)),
    "a run that goes on from it": lambda path: (
        read_start_weights(StartConfig(network_weights=str(path))).notes
    ),
    "a run on a base with it": lambda path: (
        read_start_weights(StartConfig(base_weights=(str(path),))).notes
    ),
    "sample": lambda path: refuse_unreadable([AdapterUse(path)]),
    "kohya's load_weights": lambda path: load_weights(path),
    "the fit of an adapter": lambda path: str(
        check_fit(load_adapter(path), {}, HostTraits("a host"))
    ),
}


@pytest.mark.filterwarnings("ignore::lycoris_ext.network.NetworkWarning")
@pytest.mark.parametrize("reader", TELLERS)
def test_every_reader_tells_of_a_damaged_adapter(
    reader: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = written(tmp_path, monkeypatch)[0]
    content = bytearray(path.read_bytes())
    for damaged in (False, True):
        capsys.readouterr(), caplog.clear()
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            answer = TELLERS[reader](path)
        shown = (*capsys.readouterr(), caplog.text, str(answer), *(str(w.message) for w in warned))
        assert ("do not fit the hash" in " ".join(shown)) is damaged
        content[-3] ^= 4
        path.write_bytes(content)
        path.with_suffix(".toml").unlink(missing_ok=True)


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
