"""Names of a run's files, and the steps and epochs that are read from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lycoris_ext.runs.paths import RunPaths, epoch_in_name, step_in_name

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
