"""Votes that are given in the tab or on the page are kept beside the run."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from lycoris_ext.errors import DataError
from lycoris_ext.grids import votes
from lycoris_ext.grids.entrants import Entrant
from tests.grids.conftest import old_plan
from tests.webui_extension.conftest import FakeHost, ask
from webui_extension.allowed_folders import NotAllowed
from webui_extension.laboratory import Laboratory


def test_votes_are_kept_beside_the_run_and_can_be_withdrawn(
    laboratory: Laboratory, folder: Path
) -> None:
    grid = ask(laboratory, folder, seeds=[1, 2]).plan.id
    laboratory.vote(grid, 0, 1)
    laboratory.vote(grid, 1, 0)
    assert laboratory.votes(grid) == {"tilty-step-200 at 1": 1, "without adapter": 1}
    kept = json.loads((folder / "lycoris-ext-votes.json").read_text("utf-8"))
    assert [vote["seed"] for vote in kept["votes"]] == [1, 2]
    assert laboratory.stars(grid) == {0: 1, 1: 0}
    laboratory.vote(grid, 0, -1)
    assert laboratory.votes(grid) == {"without adapter": 1}
    assert laboratory.stars(grid) == {1: 0}
    for row, column in ((2, 0), (0, -2)):
        with pytest.raises(DataError, match="the grid has 2 rows and 2 columns"):
            laboratory.vote(grid, row, column)
    for wrong in ("../../etc/passw", "x" * 16, ""):
        with pytest.raises(NotAllowed):
            laboratory.page(wrong)
    with pytest.raises(DataError, match="this grid's file is not written yet"):
        laboratory.page("0" * 16)


def test_rows_that_differ_in_settings_alone_have_votes_of_their_own(
    laboratory: Laboratory, folder: Path
) -> None:
    grid = ask(laboratory, folder, seeds=[1], steps=[20, 30], scheduler=["Karras"]).plan.id
    laboratory.vote(grid, 0, 1)
    assert laboratory.stars(grid) == {0: 1}
    laboratory.vote(grid, 1, 0)
    assert laboratory.stars(grid) == {0: 1, 1: 0}
    assert laboratory.votes(grid) == {"tilty-step-200 at 1": 1, "without adapter": 1}
    laboratory.vote(grid, 0, -1)
    assert laboratory.stars(grid) == {1: 0}
    kept = json.loads((folder / votes.FILE).read_text("utf-8"))
    assert kept["version"] == 2 and "30 steps" in kept["votes"][0]["label"]


def test_votes_of_version_0_1_0_are_found_again_and_stay_readable_for_it(
    laboratory: Laboratory, folder: Path
) -> None:
    grid = ask(laboratory, folder, seeds=[1, 2]).plan.id
    laboratory.vote(grid, 0, 1)
    kept = json.loads((folder / votes.FILE).read_text("utf-8"))
    assert kept["version"] == 1 and "label" not in kept["votes"][0]
    assert laboratory.stars(grid) == {0: 1}


def test_votes_at_the_same_time_are_all_kept(
    laboratory: Laboratory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = ask(laboratory, folder, seeds=[1, 2, 3, 4]).plan.id
    read = votes.read_votes

    def slowly(place: Path) -> list[votes.Vote]:
        found = read(place)
        time.sleep(0.02)
        return found

    monkeypatch.setattr(votes, "read_votes", slowly)
    clicks = [threading.Thread(target=laboratory.vote, args=(grid, row, 1)) for row in range(4)]
    for each in clicks:
        each.start()
    for each in clicks:
        each.join()
    assert laboratory.votes(grid) == {"tilty-step-200 at 1": 4}


def test_a_faulty_or_missing_cell_cannot_be_voted_for(
    laboratory: Laboratory, folder: Path, host: FakeHost
) -> None:
    host.loads, host.interrupted_at = False, 3
    grid = ask(laboratory, folder, seeds=[1, 2]).plan.id
    laboratory.vote(grid, 0, 0)
    for row, said in ((0, "the host did not load this adapter"), (1, "is not drawn yet")):
        with pytest.raises(DataError, match=f"row {row}, column 1: .*{said}"):
            laboratory.vote(grid, row, 1)
        laboratory.vote(grid, row, -1)
    host.loads, host.interrupted_at = True, 10**6
    ask(laboratory, folder, seeds=[1, 2])
    laboratory.vote(grid, 1, 1)
    assert laboratory.stars(grid) == {1: 1}


def test_a_grid_without_recorded_faults_can_be_voted_on(
    laboratory: Laboratory, folder: Path
) -> None:
    grid = ask(laboratory, folder).plan.id
    plan = laboratory.page(grid).with_name("grid.json")
    content = json.loads(plan.read_text("utf-8"))
    del content["faults"], content["hash"]
    plan.write_text(json.dumps(content), encoding="utf-8")
    laboratory.vote(grid, 0, 1)
    assert laboratory.stars(grid) == {0: 1}


def test_a_grid_of_version_0_1_0_can_be_voted_on(laboratory: Laboratory, folder: Path) -> None:
    grid = "0123456789abcdef"
    path = laboratory.grid_folder(grid) / "grid.json"
    path.parent.mkdir(parents=True)
    entrant = Entrant("tilty-step-200", "a" * 64, folder / "tilty-step-200.safetensors")
    path.write_text(old_plan(entrant), encoding="utf-8")
    laboratory.vote(grid, 0, 0)
    assert laboratory.stars(grid) == {0: 0} and laboratory.grids() == [grid]
    with pytest.raises(DataError, match="row 0, column 1: x"):
        laboratory.vote(grid, 0, 1)
