"""Names of a run's files, and the steps and epochs that are read from them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext.runs.paths import (
    RunPaths,
    as_file_name,
    epoch_in_name,
    is_file_name,
    step_in_name,
)

PATHS = RunPaths(Path("out"), "my")


def test_the_step_is_read_from_the_name_of_a_checkpoint() -> None:
    assert step_in_name(PATHS.checkpoint(1200)) == 1200
    assert step_in_name(PATHS.averaged(PATHS.checkpoint(1200))) == 1200
    assert step_in_name(PATHS.adapter) is None


@pytest.mark.parametrize(
    ("name", "step", "epoch"),
    [
        ("my-step00000100", 100, None),
        ("my-000003", None, 3),
        ("my-step-", None, None),
        ("my-step-7-old", None, None),
        ("my-0003", None, None),
    ],
)
def test_step_and_epoch_are_read_from_names_of_sd_scripts(
    name: str, step: int | None, epoch: int | None
) -> None:
    path = Path("out") / f"{name}.safetensors"
    assert (step_in_name(path), epoch_in_name(path)) == (step, epoch)


def test_a_run_is_found_by_its_events() -> None:
    assert RunPaths.of_events(PATHS.events) == PATHS
    assert RunPaths.of_events(PATHS.adapter) is None


@pytest.mark.parametrize(
    "name", ["CON", "con.txt", "Nul", "lpt9.a.b", "aux ", "COM¹", "a\nb", "a:b"]
)
def test_names_that_windows_keeps_for_itself_are_no_file_names(name: str) -> None:
    assert not is_file_name(name)
    assert is_file_name(as_file_name(name))


@pytest.mark.parametrize("name", ["x" * 201, "写" * 67])
def test_names_leave_room_for_the_endings_of_a_runs_files(name: str) -> None:
    assert not is_file_name(name)
    assert name.startswith(as_file_name(name)) and is_file_name(as_file_name(name))


@pytest.mark.parametrize("name", ["console", "my con", "com10", "nul_", "写真", "x.con"])
def test_other_names_are_file_names(name: str) -> None:
    assert is_file_name(name) and as_file_name(name) == name


@given(st.text())
def test_every_text_becomes_a_file_name_or_nothing(text: str) -> None:
    made = as_file_name(text)
    assert made == "" or is_file_name(made)


def test_a_run_finds_its_own_checkpoints_and_pictures_alone(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path, "my[1]")
    paths.samples.mkdir()
    ours = [paths.checkpoint(2), paths.averaged(paths.checkpoint(2)), paths.checkpoint(10)]
    pictures = [paths.sample(2, 0), paths.sample(10, 0), paths.sample(10, 1)]
    others = [RunPaths(tmp_path, "my1").checkpoint(2), RunPaths(tmp_path, "my[1]-2").checkpoint(1)]
    others += [
        RunPaths(tmp_path, "my[1]-2").sample(1, 0),
        tmp_path / "my[1]-step-2-old.safetensors",
    ]
    for path in (*reversed(ours), *reversed(pictures), *others):
        path.touch()
    assert set(paths.checkpoints()[:2]) == set(ours[:2]) and paths.checkpoints()[2] == ours[2]
    assert paths.drawn() == pictures
    assert set(ours) < set(paths.results())
