"""Caption files are rewritten as UTF-8, and their originals are never lost."""

from __future__ import annotations

import os

import pytest

from lycoris_ext.data import DataConfig, examine, rewrite_captions
from lycoris_ext.errors import ConfigError

TEXTS = {
    "00.txt": ("1girl, 初音ミク, 笑顔\r\n二行目", "cp932"),
    "01.txt": ("黒髪ロング、赤い瞳", "cp932"),
    "02.txt": ("red, blue", "utf-16"),
}


@pytest.fixture
def foreign(pictures):
    """A data set in which three captions are not UTF-8; returns its options and folder."""
    folder = pictures / "2_shapes"
    for name, (text, encoding) in TEXTS.items():
        (folder / name).write_bytes(text.encode(encoding))
    return DataConfig(train_data_dir=str(pictures)), folder


def repair(config, encoding=""):
    return list(rewrite_captions(examine(config, open_pictures=False), encoding))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if ".txt" in path.name}


def test_captions_are_rewritten_and_each_original_is_kept_beside_it(foreign):
    config, folder = foreign
    before = contents(folder)
    done = repair(config)
    assert [one.path.name for one in done] == list(TEXTS)
    after = contents(folder)
    for name, (text, encoding) in TEXTS.items():
        assert after.pop(name) == text.encode("utf-8")
        assert after.pop(f"{name}.{encoding}.bak") == before.pop(name)
    assert after == before
    assert not {f.code for f in examine(config, open_pictures=False).findings} & {"LX010"}
    assert repair(config) == []


@pytest.mark.parametrize("steps", range(6))
def test_a_repair_that_is_killed_loses_nothing_and_is_finished_by_the_next(
    foreign, steps, monkeypatch
):
    config, folder = foreign
    before = contents(folder)
    replace, left = os.replace, [steps]

    def killed(old, new):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        replace(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            repair(config)
    kept = contents(folder).values()
    assert all(raw in kept for raw in before.values())
    repair(config)
    after = contents(folder)
    assert {name: after[name].decode("utf-8") for name in TEXTS} == {
        name: text for name, (text, _) in TEXTS.items()
    }
    assert all(raw in after.values() for raw in before.values())
    assert len(after) == len(before) + len(TEXTS)  # one copy each


def test_what_killed_processes_left_half_written_is_removed(foreign):
    config, folder = foreign
    half = [folder / name for name in (".00.txt.7-8.tmp", ".00.txt.cp932.bak.7-8.tmp")]
    for path in half:
        path.write_bytes(b"1gi")
    repair(config)
    assert not any(path.exists() for path in half)


def test_an_older_copy_of_another_content_is_not_replaced(foreign):
    config, folder = foreign
    (folder / "00.txt.cp932.bak").write_bytes(b"precious")
    repair(config)
    assert (folder / "00.txt.cp932.bak").read_bytes() == b"precious"
    assert (folder / "00.txt.cp932.2.bak").read_bytes() == TEXTS["00.txt"][0].encode("cp932")


def test_a_caption_of_unclear_encoding_waits_for_its_name(foreign):
    config, folder = foreign
    for name in TEXTS:
        (folder / name).write_text("red", encoding="utf-8")
    (folder / "00.txt").write_bytes("高达".encode("gbk"))
    (folder / "01.txt").write_bytes("red".encode("utf-16"))
    first, second = repair(config)
    assert first.kept is None and "may be" in first.says and "--encoding" in first.fix
    assert second.kept is not None
    (again,) = repair(config, "gbk")
    assert again.kept is not None
    assert (folder / "00.txt").read_text("utf-8") == "高达"


def test_a_wrong_or_unknown_encoding_changes_nothing(foreign):
    config, folder = foreign
    before = contents(folder)
    with pytest.raises(ConfigError, match="'nix' is no encoding"):
        repair(config, "nix")
    results = repair(config, "ascii")
    assert [one.path.name for one in results if one.kept] == ["02.txt"]  # UTF-16 says so itself
    after = contents(folder)
    assert all(after[name] == before[name] for name in ("00.txt", "01.txt"))


def test_a_file_that_changed_since_it_was_examined_is_left_alone(foreign):
    config, folder = foreign
    scan = examine(config, open_pictures=False)
    (folder / "00.txt").write_text("mended by hand", encoding="utf-8")
    first, *_ = rewrite_captions(scan)
    assert first.kept is None and first.says == "changed in the meantime"
    assert (folder / "00.txt").read_text("utf-8") == "mended by hand"


def test_a_caption_of_two_subsets_is_rewritten_once(foreign):
    _, folder = foreign
    twice = [{"image_dir": str(folder)}, {"image_dir": str(folder), "resolution": 256}]
    assert len(repair(DataConfig(subsets=twice))) == len(TEXTS)


def test_a_folder_that_cannot_be_written_is_told_for_each_file(foreign, monkeypatch):
    config, folder = foreign
    before = contents(folder)

    def refuse(old, new):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    results = repair(config)
    assert len(results) == len(TEXTS)
    assert all(one.kept is None and "Permission denied" in one.says for one in results)
    assert contents(folder) == before
