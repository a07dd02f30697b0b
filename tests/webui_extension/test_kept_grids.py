"""A grid on the disk: it is there from its first moment, gone on with, hidden and deleted."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lycoris_ext.errors import ConfigError, EnvironmentFault
from lycoris_ext.grids.plan_file import PLAN
from lycoris_ext.plots.png import save_picture
from tests.grids.conftest import old_plan
from tests.webui_extension.conftest import FakeHost, ask
from webui_extension.allowed_folders import NotAllowed
from webui_extension.form import FIELDS, request_of, values_of
from webui_extension.laboratory import Laboratory
from webui_extension.painter import Drawn, Order
from webui_extension.parts import label
from webui_extension.tab_judge import _choices


def pictures(host: FakeHost) -> list[Path]:
    return sorted((host.output_folder() / "cells").glob("*.png"))


def test_a_grid_is_listed_and_can_be_voted_on_while_it_is_drawn(
    laboratory: Laboratory, folder: Path, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, seen = host.draw, []
    monkeypatch.setattr("lycoris_ext.grids.output._PAUSE", 0)
    monkeypatch.setattr("lycoris_ext.grids.output._SHARE", 0)

    def watched(order: Order) -> Drawn | None:
        (grid,) = laboratory.grids()
        page = laboratory.kept.folder(grid) / "grid.html"
        seen.append(page.read_text("utf-8") if page.is_file() else "")
        if len(seen) == 4:
            laboratory.vote(grid, 0, 1)
        return draw(order)

    monkeypatch.setattr(host, "draw", watched)
    job = ask(laboratory, folder, seeds=[1, 2])
    assert job.state == "complete"
    drawn = [page.count('"fault":""') for page in seen]
    assert drawn == [0, 1, 2, 3], "the page fills"
    assert laboratory.votes(job.plan.id) == {"tilty-step-200 at 1": 1}


def test_a_grid_of_a_killed_host_is_there_and_goes_on_in_the_next(
    laboratory: Laboratory, folder: Path, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """Nothing more of the process runs."""

    draw = host.draw

    def until_killed(order: Order) -> Drawn | None:
        if len(host.orders) == 3:
            raise Killed
        return draw(order)

    # What a process that is killed does not do.
    monkeypatch.setattr(laboratory.staging, "clear", lambda: None)
    monkeypatch.setattr("lycoris_ext.grids.output.GridWriter.finish", lambda *_: None)
    monkeypatch.setattr("lycoris_ext.grids.output._PAUSE", 0)
    monkeypatch.setattr("lycoris_ext.grids.output._SHARE", 0)
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    with monkeypatch.context() as patch:
        patch.setattr(host, "draw", until_killed)
        grid = ask(laboratory, folder, seeds=[1, 2]).plan.id
    staged = host.output_folder() / "staged"
    assert list(staged.glob("*.safetensors"))
    monkeypatch.undo()
    restarted = Laboratory(host)
    assert not staged.exists(), "its copies are gone at the next start"
    assert restarted.grids() == [grid]
    assert '"running":true' in (host.output_folder() / "grids" / grid / "grid.html").read_text()
    assert '"running":false' in restarted.page(grid).read_text("utf-8"), "it does not wait"
    (choice,) = _choices(restarted)
    assert choice == f"tilty-step-200: 2 x 2, 3 of 4 drawn [{grid}]"
    host.orders.clear()
    job = restarted.go_on(grid)
    assert job.ended.wait(60) and job.state == "complete"
    assert (job.plan.id, len(host.orders)) == (grid, 1), "the other three are not drawn again"
    assert not staged.exists(), "nor does a grid leave copies behind"


def test_the_copies_of_version_0_1_0_are_removed_from_the_hosts_list(host: FakeHost) -> None:
    old = host.lora_folder() / "lycoris_ext_staged"
    old.mkdir()
    (old / "t-000001__ca0304d9b705.safetensors").write_bytes(b"x")
    Laboratory(host)
    assert not old.exists()


def test_a_disk_without_room_for_the_plan_stops_a_grid_before_it_starts(
    laboratory: Laboratory, folder: Path, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise EnvironmentFault("cannot be written (No space left on device)")

    monkeypatch.setattr("webui_extension.jobs.write_plan", full)
    with pytest.raises(EnvironmentFault, match="No space left"):
        ask(laboratory, folder)
    assert laboratory.jobs.last is None and not host.orders


def test_a_hidden_grid_is_left_out_of_the_list_until_it_is_shown(
    laboratory: Laboratory, folder: Path
) -> None:
    first = ask(laboratory, folder).plan.id
    second = ask(laboratory, folder, seeds=[5]).plan.id
    laboratory.kept.hide(first)
    assert laboratory.grids() == [second]
    assert set(laboratory.kept.ids(hidden=True)) == {first, second}
    laboratory.kept.hide(first, False)
    assert set(laboratory.grids()) == {first, second}


def test_a_hidden_grid_that_is_drawn_again_is_listed(laboratory: Laboratory, folder: Path) -> None:
    grid = ask(laboratory, folder).plan.id
    laboratory.kept.hide(grid)
    ask(laboratory, folder)
    assert laboratory.grids() == [grid]


def test_a_deleted_grid_frees_the_pictures_that_no_other_grid_shows(
    laboratory: Laboratory, folder: Path, host: FakeHost
) -> None:
    first = ask(laboratory, folder, seeds=[1, 2]).plan.id
    second = ask(laboratory, folder, seeds=[2, 3]).plan.id
    assert len(pictures(host)) == 6
    laboratory.kept.delete(first)
    assert len(pictures(host)) == 4 and laboratory.grids() == [second]
    host.orders.clear()
    ask(laboratory, folder, seeds=[2, 3])
    assert not host.orders, "the other grid has lost nothing"
    laboratory.kept.delete(second)
    assert pictures(host) == []
    for name in ("../../runs/tilty", "x"):
        with pytest.raises(NotAllowed):
            laboratory.kept.delete(name)
    assert folder.is_dir()


def test_a_grid_with_an_open_file_can_be_deleted_once_it_is_closed(
    laboratory: Laboratory, folder: Path, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = ask(laboratory, folder).plan.id
    unlink = os.unlink

    def as_windows(path: Any, *more: Any, **where: Any) -> None:
        if str(path).endswith("grid.png"):
            raise PermissionError(13, "The process cannot access the file")
        unlink(path, *more, **where)

    with monkeypatch.context() as opened:
        opened.setattr(os, "unlink", as_windows)
        opened.setattr(Path, "unlink", lambda path: as_windows(str(path)))
        with pytest.raises(EnvironmentFault, match="cannot be changed"):
            laboratory.kept.delete(grid)
    assert laboratory.grids() == [grid] and pictures(host)
    laboratory.kept.delete(grid)
    assert laboratory.grids() == [] and not pictures(host)


def test_a_forged_plan_deletes_no_file_elsewhere(
    laboratory: Laboratory, folder: Path, host: FakeHost
) -> None:
    grid = ask(laboratory, folder).plan.id
    path = laboratory.kept.file(grid, "grid.json")
    victim = laboratory.kept.folder(grid).parent / "victim.png"
    victim.touch()
    keys = [[f"../{victim.stem}", f"../{victim.parent.name}/{victim.stem}", str(victim)[:-4]]]
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "keys": keys}), "utf-8")
    laboratory.kept.delete(grid)
    assert victim.is_file()


def test_a_forged_plan_shows_no_picture_from_elsewhere(
    laboratory: Laboratory, folder: Path, host: FakeHost
) -> None:
    grid = ask(laboratory, folder).plan.id
    path = laboratory.kept.file(grid, "grid.json")
    save_picture(laboratory.kept.folder(grid).parent / "secret.png", Image.new("RGB", (8, 8)))
    content = json.loads(path.read_text("utf-8"))
    content["keys"] = [["../grids/secret"] * len(line) for line in content["keys"]]
    path.write_text(json.dumps(content), "utf-8")
    assert laboratory.preview(laboratory.pick(str(folder)).checkpoints[0]).path is None


def test_a_grid_that_is_being_drawn_is_not_deleted(
    laboratory: Laboratory, folder: Path, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = host.draw

    def refused(order: Order) -> Drawn | None:
        with pytest.raises(ConfigError, match="it is being drawn"):
            laboratory.kept.delete(laboratory.grids()[0])
        return draw(order)

    monkeypatch.setattr(host, "draw", refused)
    assert ask(laboratory, folder).state == "complete"


def fields(folder: Path, chosen: list[str]) -> list[Any]:
    given: dict[str, Any] = {
        "folder": str(folder),
        "chosen": chosen,
        "trigger": "Tilty",
        "prompts": "a cat --n rain\na <lora:x:0.5> dog",
        "tests": ["trigger only"],
        "negative_prompts": "ugly",
        "style": "aniscreen",
        "strengths": "0.5, 0.5:1",
        "seeds": "7, 9",
        "base_models": ["model-b"],
        "steps": "4, 8",
        "cfg_scale": "6.5",
        "sampler": ["Euler", "Euler a"],
        "clip_skip": "2",
        "width": 64,
        "height": 64,
        "sizes": "64x64, 64x128",
        "scheduler": ["Karras"],
        "vae": [],
        "hires_fix": "off, 2 Latent 0.5",
        "styles": ["(none)", "ink"],
    }
    return [given[name] for name in FIELDS]


def test_the_fields_of_a_grid_go_back_into_the_form_as_they_were(
    laboratory: Laboratory, folder: Path
) -> None:
    known = laboratory.pick(str(folder)).checkpoints
    labels = [label(each) for each in known]
    values = fields(folder, labels[:1])
    request = request_of(laboratory, values)
    assert json.loads(json.dumps(request)) == request
    back = values_of(laboratory, request)
    assert [back[name] for name in FIELDS] == values
    assert back["choices"] == labels


def test_the_fields_of_a_drawn_grid_are_kept_and_a_random_seed_is_recorded(
    laboratory: Laboratory, folder: Path
) -> None:
    job = ask(laboratory, folder, seeds=[-1, 3], steps=[4, 8])
    form = laboratory.kept.form(job.plan.id)
    assert form["steps"] == [4, 8] and form["seeds"][1] == 3 and form["seeds"][0] >= 0
    assert {row.seed for row in job.plan.rows} == set(form["seeds"])
    assert values_of(laboratory, form)["seeds"] == f"{form['seeds'][0]}, 3"


def test_a_grid_of_version_0_1_0_gives_its_fields_too(
    laboratory: Laboratory, folder: Path, host: FakeHost
) -> None:
    path = host.output_folder() / "grids" / ("0" * 16) / PLAN
    path.parent.mkdir(parents=True)
    entrant = ask(laboratory, folder).plan.entrants[0]
    path.write_text(old_plan(entrant), encoding="utf-8")
    form = laboratory.kept.form("0" * 16)
    assert form["prompts"] == ["a cat --n ugly"] and form["seeds"] == [1, 2]
    assert form["strengths"] == ["0.5:1"] and form["files"] == [str(entrant.path)]
