"""`lycoris-ext cache`, and the limit of a cache's size."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from lycoris_ext.cli import main
from lycoris_ext.config import build_config
from lycoris_ext.config.resolve import OptionSource
from lycoris_ext.data import DiskStore, cache_key
from lycoris_ext.data.cache_folder import entries
from lycoris_ext.training.caches import keep_within_limit

KINDS = {"latents": 3, "captions": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a cache of 5 files of about 1 kB; the first latents are the longest unused."""
    for kind, number in KINDS.items():
        store = DiskStore(tmp_path / "cache" / kind)
        for one in range(number):
            store.save(cache_key(kind=kind, one=one), {"x": torch.full((256,), float(one))})
            path = store.folder / f"{cache_key(kind=kind, one=one)}.tensors"
            os.utime(path, (1_000_000 * (one + 1), 1_000_000 * (one + 1)))
    (tmp_path / "cache" / "latents" / "mine.txt").write_text("not a cached file")
    return tmp_path / "cache"


def _told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main(["cache", *arguments, "--json"]) == 0
    told: dict[str, object] = json.loads(capsys.readouterr().out)
    return told


def _left(folder: Path) -> dict[str, list[int]]:
    """Return which numbers are left of each kind."""
    return {
        kind: [
            one
            for one in range(number)
            if (folder / kind / f"{cache_key(kind=kind, one=one)}.tensors").exists()
        ]
        for kind, number in KINDS.items()
    }


def test_ls_counts_each_kind(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = _told(capsys, "ls", str(folder))
    assert {kind: part["files"] for kind, part in told.items()} == KINDS  # type: ignore[index]
    assert main(["cache", "ls", str(folder)]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "kind",
        "captions",
        "latents",
    ]
    assert _told(capsys, "ls", str(folder / "latents")).keys() == {"latents"}


def test_verify_names_damaged_files_and_deletes_them_if_asked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", "verify", str(folder)]) == 0
    path = entries(folder)[1].path
    raw = bytearray(path.read_bytes())
    raw[-5] ^= 1
    path.write_bytes(raw)
    assert main(["cache", "verify", str(folder)]) == 3
    assert f"{path}: is damaged" in capsys.readouterr().out
    assert path.exists()
    assert main(["cache", "verify", str(folder), "--delete"]) == 0
    assert not path.exists()
    assert (folder / "latents" / "mine.txt").exists()


def test_prune_deletes_what_was_not_used_for_longest(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = entries(folder)[0].size
    everything = {"latents": [0, 1, 2], "captions": [0, 1]}
    gigabytes = str((3 * size + 1) / 1e9)
    assert _told(capsys, "prune", str(folder), "--max-gb", gigabytes, "--dry-run")
    assert _left(folder) == everything
    DiskStore(folder / "latents").load(cache_key(kind="latents", one=0))  # now the latest used
    told = _told(capsys, "prune", str(folder), "--max-gb", gigabytes)
    assert told["deleted"] == {"files": 2, "bytes": 2 * size}
    assert _left(folder) == {"latents": [0, 1, 2], "captions": []}  # times of 0, 1 and now, 2, 3
    _told(capsys, "prune", str(folder), "--unused-days", "1")
    assert _left(folder) == {"latents": [0], "captions": []}


def test_prune_wants_to_be_told_what(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "prune", str(folder)]) == 2
    assert "--max-gb" in capsys.readouterr().err
    assert main(["cache", "ls", str(folder / "nowhere")]) == 3


def test_a_limit_deletes_files_of_other_runs_and_none_of_this_one(folder: Path) -> None:
    size = entries(folder)[0].size
    values = {"cache_dir": str(folder), "cache_limit_gb": 2 * size / 1e9}
    config = build_config([OptionSource("test", values)])
    latents = DiskStore(folder / "latents")
    for one in (0, 1):
        assert latents.load(cache_key(kind="latents", one=one))
    told = keep_within_limit(config, (latents, None))
    assert "3 files deleted" in told
    assert _left(folder) == {"latents": [0, 1], "captions": []}
    assert keep_within_limit(config, (latents, None)) == ""
    tighter = build_config([OptionSource("test", {**values, "cache_limit_gb": size / 1e9})])
    assert "stay, because this run uses them" in keep_within_limit(tighter, (latents,))
    assert _left(folder)["latents"] == [0, 1]
    unlimited = build_config([OptionSource("test", {"cache_dir": str(folder)})])
    assert keep_within_limit(unlimited, ()) == ""
