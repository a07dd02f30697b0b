"""Adapters are copied under names that no other content ever has."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lycoris_ext.errors import DataError
from lycoris_ext.grids.checkpoints import read_checkpoint
from tests.grids.conftest import write_checkpoint
from webui_extension.staging import FOLDER, Staging


def age(*paths: Path) -> None:
    for path in paths:
        os.utime(path, (time.time() - 4000, time.time() - 4000))


def test_an_adapter_is_copied_under_a_clean_name_with_its_hash(tmp_path: Path) -> None:
    known = read_checkpoint(write_checkpoint(tmp_path / "a <b>:1, (2).safetensors", 1))
    staged = Staging(tmp_path / "Lora").stage(known.path, known.hash)
    assert staged.name == f"a_b_1_2__{known.hash[:12]}.safetensors"
    assert staged.read_bytes() == known.path.read_bytes()
    assert not os.path.samefile(staged, known.path), "a link would change with the original"
    assert Staging(tmp_path / "Lora").stage(known.path, known.hash) == staged


def test_files_of_one_name_get_two_copies_and_an_overwritten_one_is_refused(tmp_path: Path) -> None:
    staging = Staging(tmp_path / "Lora")
    names = set()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        path = write_checkpoint(tmp_path / folder / "x.safetensors", 1, seed=len(names))
        names.add(staging.stage(path, read_checkpoint(path).hash))
    assert len(names) == 2
    before = read_checkpoint(path)
    write_checkpoint(path, 1, seed=9)
    age(*staging.folder.iterdir())
    staging.keep_only([])
    with pytest.raises(DataError, match="was overwritten after it was listed"):
        staging.stage(path, before.hash)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read any more"):
        staging.stage(path, before.hash)


def test_copies_of_earlier_grids_are_removed_once_they_are_old(tmp_path: Path) -> None:
    staging = Staging(tmp_path / "Lora")
    staging.keep_only([])
    paths = [write_checkpoint(tmp_path / f"{n}.safetensors", n, seed=n) for n in range(3)]
    staged = [staging.stage(path, read_checkpoint(path).hash) for path in paths]
    staging.keep_only([])
    assert len(list(staging.folder.iterdir())) == 3, "a plot of the host's own may use them"
    age(*staged)
    assert staging.stage(paths[2], read_checkpoint(paths[2]).hash) == staged[2]
    staging.keep_only([staged[1]])
    assert sorted((tmp_path / "Lora" / FOLDER).iterdir()) == staged[1:]


def test_a_copy_that_is_held_open_is_removed_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = Staging(tmp_path / "Lora")
    paths = [write_checkpoint(tmp_path / f"{n}.safetensors", n, seed=n) for n in range(2)]
    held, free = (staging.stage(path, read_checkpoint(path).hash) for path in paths)
    unlink = Path.unlink

    def refuse(path: Path) -> None:
        if path == held:
            raise PermissionError(13, "used by another process")
        unlink(path)

    age(held, free)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        staging.keep_only([])
    assert list(staging.folder.iterdir()) == [held]
    staging.keep_only([])
    assert list(staging.folder.iterdir()) == []
