"""Files in folders that cannot be written: one sentence, and never a traceback."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lycoris_ext import cli
from lycoris_ext.errors import EnvironmentFault
from lycoris_ext.formats.atomic import atomic_write, check_folder, remove
from tests.tiny_pictures import write_pictures


@pytest.fixture
def read_only(tmp_path, monkeypatch):
    """Make a folder behave as on a read-only disk: nothing in it can be opened or deleted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    (folder / "there.txt").write_text("mine", encoding="utf-8")
    really_open, really_unlink, really_mkdir = open, Path.unlink, Path.mkdir
    really_touch = Path.touch

    def inside(path):
        return folder in Path(os.path.abspath(path)).parents

    def refuse(path):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    def opened(file, mode="r", *more, **named):
        if isinstance(file, (str, Path)) and inside(file) and not set(mode).isdisjoint("wxa+"):
            refuse(file)
        return really_open(file, mode, *more, **named)

    def unlinked(path, missing_ok=False):
        refuse(path) if inside(path) else really_unlink(path, missing_ok=missing_ok)

    def made(path, *more, **named):
        if inside(path) and not path.is_dir():
            refuse(path)
        really_mkdir(path, *more, **named)

    def touched(path, *more, **named):
        refuse(path) if inside(path) else really_touch(path, *more, **named)

    monkeypatch.setattr("builtins.open", opened)
    monkeypatch.setattr(Path, "unlink", unlinked)
    monkeypatch.setattr(Path, "mkdir", made)
    monkeypatch.setattr(Path, "touch", touched)
    monkeypatch.chdir(folder)
    return folder


def test_a_file_on_a_read_only_disk_is_refused_in_a_sentence(read_only):
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        atomic_write(Path("a.toml"), b"a")
    with pytest.raises(EnvironmentFault, match="the folder cannot be made"):
        atomic_write(Path("deeper/a.toml"), b"a")
    with pytest.raises(EnvironmentFault, match="cannot be deleted"):
        remove(Path("there.txt"))
    remove(Path("not there.txt"))


def test_a_folder_is_checked_without_making_it(read_only, tmp_path):
    for folder, what in (
        (read_only, "cannot be written"),
        (read_only / "a/b", "cannot be made in"),
    ):
        with pytest.raises(EnvironmentFault, match=what):
            check_folder(folder, "output_dir")
    check_folder(tmp_path / "new" / "folder", "output_dir")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["init", "../pictures"],
        ["train", "--image_dir", "../pictures/2_shapes", "--optimizer_type", "AdamW"],
        ["sample", "--prompt", "a cat"],
        ["demo"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_commands_in_a_read_only_folder_say_so_before_they_work(
    read_only, tmp_path, capsys, arguments
):
    write_pictures(tmp_path / "pictures")
    assert cli.main(arguments) == 4
    said = capsys.readouterr().err
    assert "cannot be written" in said or "cannot be made" in said
    assert [path.name for path in read_only.iterdir()] == ["there.txt"]


@pytest.mark.parametrize("winerror", [5, 32])
def test_a_file_that_another_program_reads_on_windows_is_replaced_a_moment_later(
    tmp_path, monkeypatch, winerror
):
    replace, refused = os.replace, []

    def on_windows(source, target):
        if len(refused) < 3:
            refused.append(target)
            error = PermissionError(errno.EACCES, "used by another process")
            error.winerror = winerror
            raise error
        replace(source, target)

    monkeypatch.setattr(os, "replace", on_windows)
    atomic_write(tmp_path / "grid.html", b"new")
    assert (tmp_path / "grid.html").read_bytes() == b"new"
    assert len(refused) == 3


def test_a_file_that_stays_in_use_is_told_and_unharmed(tmp_path, monkeypatch):
    def on_windows(source, target):
        error = PermissionError(errno.EACCES, "used by another process")
        error.winerror = 32
        raise error

    (tmp_path / "x.json").write_bytes(b"old")
    monkeypatch.setattr("lycoris_ext.formats.atomic._PAUSES", (0.0,) * 7)
    monkeypatch.setattr(os, "replace", on_windows)
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        atomic_write(tmp_path / "x.json", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
    assert (tmp_path / "x.json").read_bytes() == b"old"
