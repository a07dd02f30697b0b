"""Caption sets: read in place of the originals, which nothing writes to."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from lycoris_ext.data import DataConfig, examine, open_training_set, scan_folders
from lycoris_ext.data.caption_sets import set_file, sets_of
from lycoris_ext.data.differences import differences
from lycoris_ext.errors import ConfigError, DataError
from tests.tiny_pictures import write_pictures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_pictures(tmp_path, count=4)
    return tmp_path / "2_shapes"


def write_set(folder: Path, name: str, **captions: str | bytes) -> None:
    for stem, text in captions.items():
        file = set_file(folder / f"{stem}.png", name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())


def captions(folder: Path, **options: object) -> list[str]:
    return [one.caption for one in scan_folders(_config(folder, **options)).pictures]


def _config(folder: Path, **options: object) -> DataConfig:
    return DataConfig(**{"train_data_dir": str(folder.parent), "resolution": 32} | options)


def _codes(folder: Path, **options: object) -> dict[str, str]:
    found = examine(_config(folder, **options), open_pictures=False).findings
    return {one.code: " ".join(o.text() for o in found if o.code == one.code) for one in found}


def test_a_set_replaces_captions_and_pictures_without_one_keep_their_own(folder: Path) -> None:
    own = captions(folder)
    write_set(folder, "mine", **{"00": "one", "02": "three, red\n"})
    assert captions(folder) == own
    assert captions(folder, caption_set="mine") == ["one", own[1], "three, red", own[3]]
    assert (
        "mine has no caption for 2 of 4 pictures, which keep"
        in _codes(folder, caption_set="mine")["LX073"]
    )
    assert "not used: mine (2)" in _codes(folder)["LX072"]


def test_a_set_holds_captions_of_pictures_that_have_none(folder: Path) -> None:
    (folder / "01.txt").unlink()
    write_set(folder, "mine", **{"01": "two"})
    assert captions(folder, caption_set="mine")[1] == "two"
    with pytest.raises(DataError, match="LX009"):
        captions(folder)


def test_a_subset_has_a_set_of_its_own(folder: Path) -> None:
    write_set(folder, "mine", **{"00": "one"})
    tables = [{"image_dir": str(folder)}, {"image_dir": str(folder), "caption_set": "mine"}]
    found = scan_folders(DataConfig(subsets=tables, resolution=32)).pictures
    assert [found[0].caption != "one", found[4].caption] == [True, "one"]


def test_a_set_replaces_the_captions_of_a_metadata_file(folder: Path) -> None:
    write_set(folder, "mine", **{"00": "one"})
    file = folder.parent / "meta.json"
    file.write_text(json.dumps({"00": {"tags": "red"}, "01": {"tags": "blue"}}))
    table = {"image_dir": str(folder), "metadata_file": str(file), "caption_set": "mine"}
    found = scan_folders(DataConfig(subsets=[table], resolution=32)).pictures
    assert [one.caption for one in found] == ["one", "blue"]


def test_the_training_set_changes_with_the_set(folder: Path) -> None:
    write_set(folder, "mine", **{"00": "one"})
    prints = [open_training_set(_config(folder, caption_set=name), seed=1) for name in ("", "mine")]
    assert prints[0].fingerprint != prints[1].fingerprint
    changed = [one.name for one in differences(*(one.manifest for one in prints)).captions]
    assert changed == ["2_shapes/00.png"]


def test_a_misspelled_set_is_refused_and_the_others_are_named(folder: Path) -> None:
    write_set(folder, "pruned", **{"00": "one"})
    with pytest.raises(DataError) as caught:
        captions(folder, caption_set="prunned")
    assert "LX071" in str(caught.value) and "pruned" in caught.value.fix


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", ".hidden", "con", " ", "a:b", "x."])
def test_names_that_are_no_folder_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="caption_set"):
        DataConfig(image_dir="x", caption_set=name)


def test_files_of_sets_that_cannot_be_read_are_named(folder: Path) -> None:
    write_set(folder, "mine", **{"00": "女の子".encode("cp932"), "01": b"\0", "02": ""})
    told = _codes(folder, caption_set="mine")
    assert "00.txt" in told["LX010"] and "02.png" in told["LX009"]


def test_sets_are_no_pictures_and_no_levels(folder: Path) -> None:
    write_set(folder, "mine", **{"00": "one"})
    assert "LX007" not in _codes(folder) and "LX003" not in _codes(folder)
    assert sets_of([folder, folder.parent]) == {"mine": 1}


def test_nothing_is_written_while_a_set_is_read(folder: Path) -> None:
    write_set(folder, "mine", **{"00": "one"})

    def state() -> dict[str, str]:
        return {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*")
            if path.is_file()
        }

    before = state()
    open_training_set(_config(folder, caption_set="mine"), seed=1)
    assert state() == before
