"""`lycoris-ext dataset tags --fields` and `--level-rules`: captions for programs without them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lycoris_ext.cli import main
from lycoris_ext.data import DataConfig, scan_folders
from lycoris_ext.data.field_files import field_file
from tests.tiny_pictures import write_picture

NUMBER = 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for leaf in ("1_a~screenshots~Anis", "1_a~fanart~Anis"):
        (root / leaf).mkdir(parents=True)
        for number in range(NUMBER // 2):
            picture = root / leaf / f"{number}.png"
            write_picture(picture, number)
            picture.with_suffix(".txt").write_text(f"own {number}")
            content = {"characters": [f"c{number}"], "tags": ["1girl", "solo"]}
            field_file(picture).write_text(json.dumps(content))
    return root


def tags(folder: Path, *words: str) -> int:
    return main(["dataset", "tags", str(folder), *words])


def trained(folder: Path, **options: object) -> list[str]:
    config = DataConfig(train_data_dir=str(folder), resolution=32, **options)
    return [one.caption for one in scan_folders(config).pictures]


def test_fields_are_drawn_once_for_each_picture_and_the_same_again(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    fields = ("--fields", "character", "tags:0.5")
    assert tags(folder, *fields, "--set", "one", "--write") == 0
    first = trained(folder, caption_set="one")
    whole = [f"c{number}, 1girl, solo" for number in range(NUMBER // 2)]
    short = [f"c{number}" for number in range(NUMBER // 2)]
    assert all(text in whole + short for text in first)
    assert 8 <= sum(text in whole for text in first) <= 32
    assert tags(folder, *fields, "--set", "two", "--write") == 0
    assert trained(folder, caption_set="two") == first
    assert tags(folder, *fields, "--seed", "1", "--set", "three", "--write") == 0
    assert trained(folder, caption_set="three") != first
    assert {path: path.read_bytes() for path in before} == before
    assert tags(folder, "--set", "one", "--undo") == 0
    assert not list(folder.glob("*/caption_sets/one"))


def test_edits_and_rules_are_made_of_what_was_drawn(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = folder.parent / "rules.toml"
    rules.write_text('[screenshots]\nadd_first = "aniscreen"\n[screenshot]\nadd = "x"')
    more = ("--level-rules", str(rules), "--remove", "solo", "--write")
    assert tags(folder, "--fields", "character", "tags", "--set", "one", *more) == 0
    assert "rules that fit no folder: [screenshot]" in capsys.readouterr().out
    found = trained(folder, caption_set="one")
    half = NUMBER // 2
    assert sorted(found[:half]) == sorted(f"c{n}, 1girl" for n in range(half))
    assert sorted(found[half:]) == sorted(f"aniscreen, c{n}, 1girl" for n in range(half))


def test_a_set_has_what_training_reads_with_the_rules(folder: Path) -> None:
    rules = folder.parent / "rules.toml"
    rules.write_text('[fanart]\nadd = "fanart"\nremove = "own 3"\nadd_first = ["x", "y"]')
    assert tags(folder, "--level-rules", str(rules), "--set", "ruled", "--write") == 0
    written = trained(folder, caption_set="ruled")
    assert written == trained(folder, level_rules=str(rules))
    assert written == trained(folder, caption_set="ruled", level_rules=str(rules))
    assert written != trained(folder)


def test_edits_of_a_config_with_rules_are_made_of_the_captions_in_files(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = folder.parent / "rules.toml"
    rules.write_text('["*"]\nadd = "ruled"')
    config = folder.parent / "my.toml"
    config.write_text(
        f'[data]\ntrain_data_dir = "{folder.as_posix()}"\nlevel_rules = "{rules.as_posix()}"\n'
    )
    assert tags(config, "--add", "x", "--set", "mine", "--write") == 0
    texts = {file.read_text() for file in folder.glob("*/caption_sets/mine/*.txt")}
    assert texts == {f"own {number}, x\n" for number in range(NUMBER // 2)}


def test_pictures_without_fields_keep_their_captions(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    field_file(folder / "1_a~fanart~Anis" / "3.png").unlink()
    assert tags(folder, "--fields", "tags", "--set", "one", "--write") == 0
    assert "1 picture without these fields keeps its caption" in capsys.readouterr().out
    found = trained(folder, caption_set="one")
    assert found.count("own 3") == 1 and found.count("1girl, solo") == NUMBER - 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fields", "artist"], "none of 40 pictures has one of these fields"),
        (["--fields", "tags:0.5", "--write"], "no field was drawn for"),
        (["--fields", "tagz"], "caption_fields names 'tagz'"),
        (["--level-rules", "absent.toml"], "the rules cannot be read"),
    ],
)
def test_what_cannot_be_done_is_told_and_nothing_is_written(
    folder: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tags(folder, *words) != 0
    assert message in capsys.readouterr().err
    assert not list(folder.glob("*/caption_sets"))


def test_fields_that_are_all_left_out_may_be_filled_by_an_edit(folder: Path) -> None:
    assert tags(folder, "--fields", "tags:0.5", "--add-first", "me", "--write", "--set", "a") == 0
    assert set(trained(folder, caption_set="a")) == {"me", "me, 1girl, solo"}
