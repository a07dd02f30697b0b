"""`lycoris-ext check`: findings as text, JSON and SARIF, with exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest

from lycoris_ext.cli import main
from lycoris_ext.data.rules import all_rules
from tests.tiny_pictures import write_pictures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write three pictures, of which the second is a copy of the first."""
    root = write_pictures(tmp_path / "set", count=3)
    inside = root / "2_shapes"
    (inside / "01.png").write_bytes((inside / "00.png").read_bytes())
    return root


def _checked(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = main(["check", *map(str, arguments)])
    return code, capsys.readouterr().out


def test_warnings_are_told_and_end_with_0_unless_strict(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code, told = _checked(capsys, folder)
    assert code == 0
    assert "warning LX019" in told and "0 errors, 1 warning" in told
    assert _checked(capsys, folder, "--strict")[0] == 3
    code, told = _checked(capsys, folder, "--strict", "--silence", "lx019")
    assert code == 0 and "LX019" not in told
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_errors_end_with_3_and_cannot_be_silenced(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "2_shapes" / "02.txt").unlink()
    code, told = _checked(capsys, folder, "--silence", "LX009")
    assert code == 3 and "error LX009" in told


def test_json_and_sarif_name_every_place(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "2_shapes" / "00.png").rename(folder / "2_shapes" / "ä b.png")
    (folder / "2_shapes" / "00.txt").rename(folder / "2_shapes" / "ä b.txt")
    findings = json.loads(_checked(capsys, folder, "--json")[1])["findings"]
    places = {Path(one["path"]) for finding in findings for one in finding["where"]}
    log: dict[str, Any] = json.loads(_checked(capsys, folder, "--format", "sarif")[1])
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    known = {rule["id"]: rule for rule in run["tool"]["driver"]["rules"]}
    assert known.keys() == {rule.code.name for rule in all_rules()}
    addresses = [
        urlparse(location["physicalLocation"]["artifactLocation"]["uri"])
        for result in run["results"]
        for location in result["locations"]
    ]
    assert {Path(unquote(address.path)).name for address in addresses} == {
        path.name for path in places
    }
    assert {result["ruleId"] for result in run["results"]} <= known.keys()
    assert {result["level"] for result in run["results"]} <= {"error", "warning", "note"}


def test_codes_are_explained_and_listed(capsys: pytest.CaptureFixture[str]) -> None:
    for rule in all_rules():
        code, told = _checked(capsys, "--explain", rule.code.name)
        assert code == 0 and rule.code.meaning in told
    code, told = _checked(capsys, "--list")
    assert [line.split()[0] for line in told.splitlines()] == [r.code.name for r in all_rules()]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a config, or a folder"),
        (["--explain", "LX999"], "did you mean"),
        (["x", "--silence", "what"], "--list"),
    ],
)
def test_wrong_arguments_are_told(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_nested_folders_without_a_multiply_are_told_by_their_levels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "set"
    for place, number in (("cat/drawn", 9), ("cat/photo", 1), ("dog/drawn", 9), ("dog/photo", 9)):
        pictures = write_pictures(tmp_path / "made", count=number) / "2_shapes"
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        pictures.rename(root / place)
    _, told = _checked(capsys, root, "--format", "json")
    found = {one["code"]: one["where"] for one in json.loads(told)["findings"]}
    (rare,) = found["LX055"]
    assert Path(rare["path"]) == root / "cat" / "photo"
    assert rare["detail"] == "samples an epoch: 1, usually 9"
