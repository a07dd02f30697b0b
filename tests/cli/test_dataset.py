"""`lycoris-ext dataset`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lycoris_ext.cli import main
from lycoris_ext.cli.arguments.dataset import ROUNDINGS as CHOICES
from lycoris_ext.data.balance import ROUNDINGS


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name, number in {"1_a~b": 4, "3_a~c": 1, "1_d": 2}.items():
        (tmp_path / "set" / name).mkdir(parents=True)
        for one in range(number):
            (tmp_path / "set" / name / f"{one}.png").touch()
    return tmp_path / "set"


def test_the_flag_has_the_roundings_that_there_are() -> None:
    assert set(CHOICES) == set(ROUNDINGS)


def test_balance_shows_floor_and_nearest_and_writes_nothing(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folders.rglob("*"))
    assert main(["dataset", "balance", str(folders)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].split()[:7] == [
        "folder",
        "pictures",
        "share",
        "exact",
        "floor",
        "nearest",
        "now",
    ]
    assert told[1].split() == ["a~b", "4", "25.00%", "1.00", "1", "1", "1", "4", "25.00%"]
    assert "nothing is written" in told[-1]
    assert sorted(folders.rglob("*")) == before


def test_balance_as_json_writes_and_takes_back(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folders.rglob("*"))
    assert main(["dataset", "balance", str(folders), "--json", "--write"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {one["folder"]: one["repeats"] for one in told["folders"]} == {
        "1_a~b": 1,
        "3_a~c": 4,
        "1_d": 4,
    }
    assert (folders / "4_a~c").is_dir()
    assert main(["dataset", "balance", str(folders), "--undo"]) == 0
    assert sorted(folders.rglob("*")) == before


def test_balance_writes_a_config_that_is_read_again(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "my.toml"
    assert main(["dataset", "balance", str(folders), "--config", str(output)]) == 0
    from lycoris_ext.config import build_config, read_config

    subsets = build_config([read_config(output)]).data.own_subsets
    assert {one.place.name: one.num_repeats for one in subsets} == {
        "1_a~b": 1,
        "3_a~c": 4,
        "1_d": 4,
    }
    assert main(["dataset", "balance", str(folders), "--config", str(output)]) != 0
    assert "exists already" in capsys.readouterr().err
