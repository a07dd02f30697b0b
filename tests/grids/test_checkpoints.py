"""Listing the checkpoints of a run in order, and refusing other files in one line each."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lycoris_ext.errors import DataError, FormatError
from lycoris_ext.grids.checkpoints import list_run, read_checkpoint
from tests.grids.conftest import write_checkpoint


def test_checkpoints_stand_in_order_of_their_steps(run: Path) -> None:
    first, second = list_run(run).checkpoints
    assert (first.name, first.step, first.algorithm) == ("tilty-step-200", 200, "loha")
    assert (second.step, second.algorithm, second.dims) == (1000, "loha, DoRA", "8/1")
    assert first.base == "base.safetensors, sd_v1"
    assert first.summary.triggers == ("Tilty",)
    assert first.tags(2) == [("Tilty", 20), ("smile", 8)]
    assert first.hash != second.hash


def test_the_step_is_read_from_the_name_where_the_metadata_lack_it(tmp_path: Path) -> None:
    for name, step in (("a-step-00000500", 500), ("b-step-70-ema", 70), ("c", None)):
        path = write_checkpoint(tmp_path / f"{name}.safetensors", 0)
        content = path.read_bytes().replace(b'"ss_steps":"0"', b'"ss_steps":"?"')
        path.write_bytes(content)
        assert read_checkpoint(path).step == step


def test_a_file_is_listed_as_a_run_of_one_checkpoint(run: Path) -> None:
    listed = list_run(run / "tilty-step-200.safetensors")
    assert [known.step for known in listed.checkpoints] == [200]


def test_a_checkpoint_is_read_again_only_when_its_file_changed(run: Path) -> None:
    path = run / "tilty-step-200.safetensors"
    before = read_checkpoint(path)
    assert read_checkpoint(path) is before
    write_checkpoint(path, 200, seed=9, network_dim=4)
    after = read_checkpoint(path)
    assert after.hash != before.hash and after.dims == "4/1"


def test_scores_are_shown_where_a_run_has_them(run: Path) -> None:
    path = run / "tilty-step-200.scores.json"
    path.write_text('{"scores": {"likeness": 0.75}}', encoding="utf-8")
    assert read_checkpoint(run / "tilty-step-200.safetensors").scores == {"likeness": 0.75}
    path.write_text('{"scores": {"likeness": 0.5}}', encoding="utf-8")
    assert read_checkpoint(run / "tilty-step-200.safetensors").scores == {"likeness": 0.5}
    huge, nothing = "1" + "0" * 400, "NaN"
    for other in ("[1]", "{", *(f'{{"scores": {{"likeness": {n}}}}}' for n in (huge, nothing))):
        path.write_text(other, encoding="utf-8")
        assert read_checkpoint(run / "tilty-step-200.safetensors").scores == {}


def hostile_files(folder: Path) -> dict[str, str]:
    """Write files that pretend or are damaged; return what is said of each, by name."""
    (folder / "claims.safetensors").write_bytes(struct.pack("<Q", 10 << 30) + b"{}")
    (folder / "empty.safetensors").touch()
    header = {"lora_unet_x.lora_up.weight": {"dtype": "F32", "shape": [4], "data_offsets": [8, 0]}}
    text = json.dumps(header).encode()
    (folder / "offsets.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    (folder / "text.safetensors").write_bytes(b"<script>alert(1)</script>" * 4)
    (folder / "old.ckpt").write_bytes(b"\x80\x04")
    save_file({"model.weight": torch.zeros(2)}, folder / "model.safetensors")
    return {
        "claims.safetensors": "the header has 10,737,418,240 bytes, at most 32,000,000",
        "empty.safetensors": "this is a file that holds nothing",
        "model.safetensors": "none of its 1 tensors belongs to an adapter",
        "offsets.safetensors": "does not fill its offsets",
        "old.ckpt": "this file is a pickle, which can run code when it is opened",
        "text.safetensors": "this is a web page",
    }


def test_hostile_files_are_refused_in_one_line_each_and_the_others_listed(run: Path) -> None:
    wanted = hostile_files(run)
    listed = list_run(run)
    assert len(listed.checkpoints) == 2
    assert [name for name, _ in listed.refused] == sorted(wanted)
    for name, why in listed.refused:
        assert wanted[name] in why
        assert "\n" not in why and len(why) <= 160


def test_a_model_of_many_gigabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    size = 64 << 30
    entry = {"model.weight": {"dtype": "I8", "shape": [size], "data_offsets": [0, size]}}
    text = json.dumps(entry).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + size)  # sparse: it takes no disk
    with pytest.raises(FormatError, match="none of its 1 tensors belongs to an adapter"):
        read_checkpoint(path)


def test_a_missing_folder_or_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such folder"):
        list_run(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no such file\n  -> list the folder again"):
        read_checkpoint(tmp_path / "gone.safetensors")


def test_a_file_that_vanishes_while_its_folder_is_listed_is_refused_alone(run: Path) -> None:
    first, second = run / "tilty-step-200.safetensors", run / "tilty-step-1000.safetensors"
    listed = list_run(run, lambda path: first.unlink() if path == first else None)
    assert [known.path for known in listed.checkpoints] == [second]
    assert listed.refused == ((first.name, "there is no such file"),)


def test_a_folder_that_may_not_be_read_is_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(DataError, match=r"the folder cannot be read \(Permission denied"):
        list_run(run)
