"""Adapters are copied under names that no other content ever has, and the copies go again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lycoris_ext.errors import DataError
from lycoris_ext.grids.checkpoints import read_checkpoint
from tests.grids.conftest import write_checkpoint
from webui_extension.staging import Staging, empty


def test_an_adapter_is_copied_under_a_clean_name_with_its_hash(tmp_path: Path) -> None:
    known = read_checkpoint(write_checkpoint(tmp_path / "a <b>:1, (2).safetensors", 1))
    staging = Staging(tmp_path / "staged")
    staged = staging.stage(known.path, known.hash)
    assert staged.name == f"a_b_1_2__{known.hash[:12]}.safetensors"
    assert staged.read_bytes() == known.path.read_bytes()
    assert not os.path.samefile(staged, known.path), "a link would change with the original"
    known.path.unlink()
    assert staging.stage(known.path, known.hash) == staged, "the original is not needed any more"


def test_files_of_one_name_get_two_copies_and_an_overwritten_one_is_refused(tmp_path: Path) -> None:
    staging = Staging(tmp_path / "staged")
    names = set()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        path = write_checkpoint(tmp_path / folder / "x.safetensors", 1, seed=len(names))
        names.add(staging.stage(path, read_checkpoint(path).hash))
    assert len(names) == 2
    before = read_checkpoint(path)
    write_checkpoint(path, 1, seed=9)
    staging.clear()
    with pytest.raises(DataError, match="was overwritten after it was listed"):
        staging.stage(path, before.hash)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read any more"):
        staging.stage(path, before.hash)


@pytest.mark.parametrize("same_object", [True, False])
def test_a_copy_that_another_program_has_changed_is_not_used(
    tmp_path: Path, same_object: bool
) -> None:
    path = write_checkpoint(tmp_path / "x.safetensors", 1)
    other = write_checkpoint(tmp_path / "y.safetensors", 1, seed=5)
    known, staging = read_checkpoint(path), Staging(tmp_path / "staged")
    staged = staging.stage(path, known.hash)
    state = staged.stat()
    staged.write_bytes(other.read_bytes())
    os.utime(staged, ns=(state.st_atime_ns, state.st_mtime_ns))
    again = staging if same_object else Staging(tmp_path / "staged")
    assert again.stage(path, known.hash).read_bytes() == path.read_bytes()


def test_clearing_deletes_the_copies_and_their_folder_and_nothing_else(tmp_path: Path) -> None:
    staging = Staging(tmp_path / "staged")
    staging.clear()
    path = write_checkpoint(tmp_path / "x.safetensors", 1)
    staging.stage(path, read_checkpoint(path).hash)
    staging.clear()
    assert not staging.folder.exists()
    staged = staging.stage(path, read_checkpoint(path).hash)
    mine = staged.with_name("mine.safetensors")
    mine.write_bytes(b"x")
    empty(staging.folder)
    assert list(staging.folder.iterdir()) == [mine]


def test_a_copy_that_is_held_open_is_removed_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = Staging(tmp_path / "staged")
    paths = [write_checkpoint(tmp_path / f"{n}.safetensors", n, seed=n) for n in range(2)]
    held, _ = (staging.stage(path, read_checkpoint(path).hash) for path in paths)
    unlink = Path.unlink

    def refuse(path: Path) -> None:
        if path == held:
            raise PermissionError(13, "used by another process")
        unlink(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        staging.clear()
    assert list(staging.folder.iterdir()) == [held]
    staging.clear()
    assert not staging.folder.exists()
