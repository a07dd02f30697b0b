"""Findings: what is wrong or notable in a data set is reported together, under lasting codes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from lycoris_ext.data import DataConfig, examine, finding_lines, open_training_set, raise_if_errors
from lycoris_ext.data.findings import LISTED, Location
from lycoris_ext.data.rules import all_rules, remove_rule
from lycoris_ext.data.rules.folders import LOOSE
from lycoris_ext.errors import DataError
from tests.tiny_pictures import write_picture, write_pictures

PAGE = Path(__file__).parents[2] / "docs" / "data.md"


def codes(findings) -> list[str]:
    return [finding.code for finding in findings]


@pytest.fixture
def messy(tmp_path) -> dict[str, str]:
    """Write folders in which everything possible is wrong; return the options that name them."""
    train = write_pictures(tmp_path / "train", count=5)
    write_pictures(train, count=2, repeats=7, size=(40, 36))
    (train / "2_shapes" / "00.txt").unlink()
    (train / "7_shapes" / "01.txt").write_bytes(b"")
    (train / "2_shapes" / "02.txt").write_bytes("red".encode("utf-16"))
    (train / "2_shapes" / "02.png").write_bytes(b"<html>not found</html>")
    (train / "2_shapes" / "03.txt").write_text("one\ntwo", encoding="utf-8")
    (train / "unnamed").mkdir()
    write_picture(train / "loose.png", 8)
    write_picture(train / "unnamed" / "a.png", 9)
    return {"train_data_dir": str(train), "reg_data_dir": str(tmp_path / "nowhere")}


def test_everything_wrong_with_a_data_set_is_reported_at_once(messy):
    with pytest.raises(DataError) as caught:
        open_training_set(DataConfig(**messy, resolution=32), seed=0)
    text = str(caught.value)
    assert text.startswith("5 things are wrong:\n1. ")
    assert len(caught.value.parts) == 5
    for said in (
        "the folder does not exist [LX001]:",
        "nowhere\n",
        "has no repeats in its name [LX003]:",
        "unnamed\n",
        "2 of 7 pictures have no caption (no .txt file, or an empty one) [LX009]:",
        "1 caption file is not UTF-8 (is UTF-16) [LX010]:",
        "02.txt: is UTF-16",
        "02.png: not a picture: this is a web page",
    ):
        assert said in text
    assert "[LX002]" not in text and "[LX011]" not in text  # warnings are not in the way


def test_a_missing_folder_does_not_hide_what_is_wrong_with_another_one(messy, tmp_path):
    found = examine(DataConfig(train_data_dir=str(tmp_path / "none"), reg_data_dir=str(tmp_path)))
    assert codes(found.findings)[:2] == ["LX001", "LX003"]
    both = examine(DataConfig(**messy, resolution=32)).findings
    assert codes(both) == ["LX001", "LX002", "LX003", "LX009", "LX010", "LX011", "LX012"]
    assert [f.code for f in both if f.severity != "error"] == ["LX002", "LX011"]


def test_without_opening_pictures_folders_and_captions_are_examined(messy):
    found = examine(DataConfig(**messy), open_pictures=False)
    assert "LX012" not in codes(found.findings) and "LX010" in codes(found.findings)
    assert found.checked == ()


def test_a_folder_that_may_not_be_read_is_named(pictures, monkeypatch):
    real = Path.iterdir

    def refuse(path):
        if path.name == "2_shapes":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError) as caught:
        open_training_set(DataConfig(train_data_dir=str(pictures)), seed=0)
    text = str(caught.value)
    assert text.startswith("the folder cannot be read (Permission denied) [LX001]:\n")
    assert "2_shapes\n" in text
    assert len(caught.value.parts) == 1


def test_an_error_lists_the_first_files_and_counts_the_others():
    paths = [Path(f"{number:02d}.png") for number in range(LISTED + 12)]
    text = str(LOOSE.finding(paths, "pictures lie about", "move them").as_error())
    assert text.startswith("pictures lie about [LX002]:\n  00.png\n")
    assert text.endswith("  09.png\n  and 12 more\n  -> move them")
    details = LOOSE.finding([Location(Path("a.png"), "too dark")], "a picture is wrong")
    assert str(details.as_error()) == "a picture is wrong [LX002]:\n  a.png: too dark"


def test_a_finding_on_one_line_names_three_files_and_counts_the_others():
    paths = [Path("folder") / f"{number}.png" for number in range(5)]
    notes = [
        LOOSE.finding(paths, "5 pictures", "move", "note"),
        LOOSE.finding(paths[:1], "1 picture", severity="warning"),
        LOOSE.finding([], "nothing"),
    ]
    assert finding_lines(notes) == [
        "note LX002: 5 pictures: 0.png, 1.png, 2.png and 2 more -> move",
        f"warning LX002: 1 picture: {paths[0]}",
        "error LX002: nothing",
    ]


def test_warnings_and_notes_do_not_stop_a_run():
    mild = [LOOSE.finding([], "it is dark", severity=name) for name in ("warning", "note")]
    raise_if_errors(mild)
    with pytest.raises(DataError, match=r"^it is black \[LX002\]$"):
        raise_if_errors([*mild, LOOSE.finding([], "it is black")])


def test_every_code_stands_in_the_docs_with_its_meaning():
    """Users look codes up there, so a code must not change or lose its meaning."""
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| LX")]
    assert rows == [
        f"| {known.code.name} | {known.code.severity} | {known.code.meaning} |"
        for known in all_rules()
    ]


RULE = """
from lycoris_ext.data import Code, rule

TABS = Code("MY001", "{severity}", "A caption holds a tab.")


@rule(TABS)
def captions_with_tabs(scan):
    paths = [picture.path for picture in scan.pictures if "\\t" in picture.caption]
    if paths:
        yield TABS.finding(paths, f"{{len(paths)}} captions hold tabs", "replace them by spaces")
"""


@pytest.fixture
def rule_file(tmp_path):
    """Import a rule from a file outside the package, and forget it afterwards."""

    def add(severity: str) -> None:
        path = tmp_path / "my_rules.py"
        path.write_text(RULE.format(severity=severity), encoding="utf-8")
        spec = importlib.util.spec_from_file_location("my_rules", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)

    yield add
    remove_rule("MY001")


def train_config(pictures: Path, tmp_path: Path):
    from lycoris_ext.config import OptionSource, build_config

    places = {"train_data_dir": str(pictures), "output_dir": str(tmp_path / "out")}
    return build_config([OptionSource("test", {**places, "resolution": 32, "device": "cpu"})])


def test_a_rule_of_one_file_outside_the_package_stops_a_run(pictures, tmp_path, rule_file):
    from lycoris_ext.training.terminal import train_in_terminal

    (pictures / "2_shapes" / "03.txt").write_text("red,\tblue", encoding="utf-8")
    rule_file("error")
    with pytest.raises(DataError, match=r"1 captions hold tabs \[MY001\]") as caught:
        train_in_terminal(train_config(pictures, tmp_path))
    assert "03.png" in str(caught.value) and "replace them by spaces" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_removed_rule_is_not_run(pictures, rule_file):
    (pictures / "2_shapes" / "03.txt").write_text("red,\tblue", encoding="utf-8")
    config = DataConfig(train_data_dir=str(pictures), resolution=32)
    rule_file("warning")
    (line,) = finding_lines(open_training_set(config, 0).findings)
    path = pictures / "2_shapes" / "03.png"
    assert line == f"warning MY001: 1 captions hold tabs: {path} -> replace them by spaces"
    remove_rule("MY001")
    assert open_training_set(config, 0).findings == ()
    rule_file("warning")  # the fixture forgets it once more


def test_two_rules_cannot_share_a_code(rule_file):
    rule_file("note")
    with pytest.raises(ValueError, match="MY001 is taken by captions_with_tabs"):
        rule_file("note")
