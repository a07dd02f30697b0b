"""Listing, checking and drawing in the tab, with a stand-in of the host."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lycoris_ext.errors import ConfigError, EnvironmentFault, LycorisExtError
from tests.webui_extension.conftest import FakeHost, ask
from webui_extension import laboratory as module
from webui_extension import schemas
from webui_extension.allowed_folders import NotAllowed
from webui_extension.asked import plan_of
from webui_extension.jobs import Job
from webui_extension.laboratory import Laboratory
from webui_extension.painter import BLACK, Drawn, LoadedNetwork, Order


def faults(job: Job) -> list[str]:
    return [cell.fault if cell else "missing" for row in job.grid.table() for cell in row]


def test_runs_in_allowed_folders_are_found_and_others_refused(
    laboratory: Laboratory, folder: Path
) -> None:
    assert laboratory.runs() == ([folder], "")
    assert len(laboratory.pick(str(folder)).checkpoints) == 2
    with pytest.raises(NotAllowed):
        laboratory.pick(str(folder.parents[2]))


def test_a_file_that_vanishes_or_a_closed_folder_does_not_stop_the_list_of_runs(
    laboratory: Laboratory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = folder.with_name("a") / "gone.safetensors"
    closed = folder.with_name("closed") / "inner"
    closed.mkdir(parents=True)
    gone.parent.mkdir()
    gone.touch()
    state, is_dir = Path.stat, Path.is_dir

    def once(path: Path, **options: bool) -> os.stat_result:
        found = state(path, **options)
        if path == gone:
            path.unlink()
        return found

    def refused(path: Path) -> bool:
        if path == closed:
            raise PermissionError(13, "Permission denied")
        return is_dir(path)

    monkeypatch.setattr(Path, "stat", once)
    monkeypatch.setattr(Path, "is_dir", refused)
    assert laboratory.runs() == ([folder], "") and not gone.exists()


def test_the_list_of_runs_says_that_not_all_folders_were_searched(
    laboratory: Laboratory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_SEARCHED", 1)
    found, note = laboratory.runs()
    assert found == [] and note.startswith("The search stopped after 1 folder")


def test_a_verdict_is_given_before_anything_is_drawn(
    laboratory: Laboratory, folder: Path, host: FakeHost
) -> None:
    plain, dora = laboratory.pick(str(folder)).checkpoints
    assert laboratory.verdict(plain) == "all 2 layers fit"
    assert "Fake 1.0 ignores DoRA's lengths" in laboratory.verdict(dora)
    assert not host.orders


def test_a_grid_is_drawn_in_order_and_kept_as_page_and_picture(
    laboratory: Laboratory, folder: Path, host: FakeHost
) -> None:
    job = ask(laboratory, folder, strengths=["0.5:1"], seeds=[1, 2], prompts=["a cat --n rain"])
    assert (job.state, faults(job)) == ("complete", [""] * 4)
    assert [order.negative_prompt for order in host.orders] == ["rain"] * 4
    assert [order.prompt.partition(" <")[0] for order in host.orders] == ["a cat"] * 4
    assert [order.seed for order in host.orders] == [1, 2, 1, 2]
    (adapter,) = host.orders[2].adapters
    assert adapter.tag.endswith(":0.5:1>") and host.orders[0].adapters == ()
    assert laboratory.page(job.plan.id).is_file() and laboratory.picture(job.plan.id).is_file()
    assert laboratory.grids() == [job.plan.id]
    assert str(job.progress).startswith("4 of 4 pictures")


def test_pictures_of_a_page_are_found_by_their_names_alone(
    laboratory: Laboratory, folder: Path
) -> None:
    grid = ask(laboratory, folder).plan.id
    cells = laboratory.page(grid).parent / "cells"
    names = sorted(path.name for path in cells.iterdir())
    assert len(names) == 2
    assert [laboratory.cell(grid, name) for name in names] == [cells / name for name in names]
    for name in ("..", ".", "", "../grid.json", "..\\grid.json", "nothing.png", "\0", "\ud800"):
        with pytest.raises(LycorisExtError):
            laboratory.cell(grid, name)


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ({"loads": False}, ["", "the host did not load this adapter"]),
        ({"layers": 1}, ["", "the host applied 1 of 2 layers"]),
        (
            {"left_over": [LoadedNetwork(Path("other.safetensors"))]},
            ["drawn with other, and should be without"],
        ),
        ({"comments": ("Networks with errors: x (3)",)}, ["", "Networks with errors: x (3)"]),
        ({"black": True}, [BLACK, BLACK]),
        ({"breaks_off": True}, ["", "the host broke off: shape '[4, 4]' is invalid"]),
    ],
)
def test_a_cell_that_the_host_drew_otherwise_than_asked_is_marked(
    laboratory: Laboratory, folder: Path, host: FakeHost, lie: dict[str, Any], said: list[str]
) -> None:
    for name, value in lie.items():
        setattr(host, name, value)
    job = ask(laboratory, folder)
    found = faults(job)
    assert found[: len(said)] == said and found[1] and job.state == "complete"


def test_dora_that_the_host_ignores_is_marked(laboratory: Laboratory, folder: Path) -> None:
    job = ask(laboratory, folder, files=[str(folder / "tilty-step-1000.safetensors")])
    assert faults(job)[0] == "" and "ignores DoRA's lengths" in faults(job)[1]


def test_a_host_that_breaks_off_gives_each_cell_its_reason(
    laboratory: Laboratory, folder: Path, host: FakeHost
) -> None:
    host.breaks_off = True
    files = [
        str(folder / "tilty-step-1000.safetensors"),
        str(folder / "tilty-step-200.safetensors"),
    ]
    job = ask(laboratory, folder, files=files)
    (_, dora, plain) = faults(job)
    assert "ignores DoRA's lengths" in dora and plain.startswith("the host broke off")
    assert laboratory.page(job.plan.id).is_file()


def test_an_interrupted_grid_goes_on_with_its_missing_pictures(
    laboratory: Laboratory, folder: Path, host: FakeHost
) -> None:
    host.interrupted_at = 3
    job = ask(laboratory, folder, seeds=[1, 2, 3])
    assert (job.state, len(job.grid.cells)) == ("interrupted", 3)
    host.interrupted_at = 10**6
    host.orders.clear()
    job = ask(laboratory, folder, seeds=[1, 2, 3])
    assert job.state == "complete" and len(host.orders) == 3


def test_a_grid_keeps_its_cells_when_it_is_stopped_by_an_error(
    laboratory: Laboratory, folder: Path, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise EnvironmentFault("cannot be written (No space left on device)")

    draw = host.draw
    with monkeypatch.context() as patch:
        patch.setattr(host, "draw", lambda order: full() if len(host.orders) == 3 else draw(order))
        job = ask(laboratory, folder, seeds=[1, 2])
    assert (job.state, len(job.grid.cells)) == ("failed", 3)
    assert "No space left" in job.problem
    page = laboratory.page(job.plan.id).read_text("utf-8")
    assert page.count('"src":"cells/') == 3
    for name in ("decides", "traits"):  # before the first picture, and while the page is written
        with monkeypatch.context() as patch:
            patch.setattr(host, name, full)
            assert "No space left" in ask(laboratory, folder, seeds=[1, 2]).problem
        assert laboratory.page(job.plan.id).read_text("utf-8") == page


def test_a_file_overwritten_after_it_was_listed_fails_the_grid_in_words(
    laboratory: Laboratory, folder: Path
) -> None:
    path = folder / "tilty-step-200.safetensors"
    asked = schemas.checked({"files": [str(path)], "prompts": ["x"]}, schemas.GRID)
    plan = plan_of(laboratory, asked)
    path.write_bytes((folder / "tilty-step-1000.safetensors").read_bytes())
    job = laboratory.start(plan)
    assert job.ended.wait(60)
    assert job.state == "failed" and "was overwritten after it was listed" in job.problem


def test_a_file_that_vanishes_while_it_is_drawn_does_not_fail_the_grid(
    laboratory: Laboratory, folder: Path, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, draw = folder / "tilty-step-200.safetensors", host.draw

    def without_original(order: Order) -> Drawn | None:
        path.unlink(missing_ok=True)
        return draw(order)

    monkeypatch.setattr(host, "draw", without_original)
    job = ask(laboratory, folder)
    assert (job.state, faults(job)) == ("complete", ["", ""])


def test_another_loaded_model_makes_another_grid(
    laboratory: Laboratory, folder: Path, host: FakeHost
) -> None:
    first = ask(laboratory, folder)
    assert first.plan.base_models == ("model-a",)
    host.model = "model-b"
    second = ask(laboratory, folder)
    assert second.plan.id != first.plan.id and second.folder != first.folder


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ([], "request: is no JSON object"),
        ({}, "files: is missing"),
        ({"files": "x"}, "files: is 'x', expected array"),
        ({"files": [1]}, "files: is 1, expected string"),
        ({"files": [], "steps": True}, "steps: is True, expected integer"),
        ({"files": [], "cfg_scale": float("nan")}, "cfg_scale: is nan, expected number"),
        ({"files": [], "cfg_scale": 10**400}, "cfg_scale: is 10+, expected number"),
        ({"files": [], "stepz": 1}, "stepz: is not known"),
        ({"files": []}, "tests: nothing is chosen"),
        ({"files": [], "prompts": ["a --d 3"]}, "a prompt has options of its own: seed"),
        ({"files": [], "prompts": ["--n rain"]}, "a prompt is empty"),
        ({"files": [], "prompts": ["a"], "seeds": [2**32]}, "the seed is 4294967296"),
        ({"files": [], "prompts": ["a"], "strengths": ["x"]}, "'x' is no strength"),
        ({"files": [], "prompts": ["a"], "width": 513}, "width is 513 pixels, .* multiples of 8"),
        ({"files": [], "prompts": ["a"], "height": 4}, "height is 4"),
        ({"files": [], "prompts": ["a"], "base_models": ["c"]}, "no such base model"),
        ({"files": [], "tests": ["trigger only"]}, "the tests need the words"),
        ({"files": ["/etc/passwd"], "prompts": ["a"]}, "not inside a folder"),
    ],
)
def test_requests_that_make_no_sense_are_refused(
    laboratory: Laboratory, asked: Any, said: str
) -> None:
    with pytest.raises(LycorisExtError, match=said):
        plan_of(laboratory, schemas.checked(asked, schemas.GRID))


def test_tags_that_cannot_be_checked_are_refused(laboratory: Laboratory, folder: Path) -> None:
    for more in ({"prompts": ["a <lora:x:te=1>"]}, {"negative_prompts": ["<LYCO:y:1>"]}):
        with pytest.raises(ConfigError, match=r"the prompt holds <l...:\.\.\.>"):
            ask(laboratory, folder, **more)


def test_links_that_lead_out_are_refused(
    laboratory: Laboratory, folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.safetensors"
    (folder / "tilty-step-200.safetensors").rename(outside)
    (folder / "link.safetensors").symlink_to(outside)
    listed = laboratory.pick(str(folder))
    assert [known.step for known in listed.checkpoints] == [1000]
    assert listed.refused == (
        ("link.safetensors", "this path is not inside a folder that the host allows"),
    )
