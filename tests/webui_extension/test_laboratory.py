"""List, check, draw, vote, install: all but the host itself."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lycoris_ext.errors import ConfigError, DataError, EnvironmentFault, LycorisExtError
from lycoris_ext.experiments import votes
from lycoris_ext.formats import atomic_write
from tests.webui_extension.conftest import FakeHost
from webui_extension import schemas, winner
from webui_extension.asked import plan_of, seeds_of
from webui_extension.jobs import Job
from webui_extension.laboratory import Laboratory
from webui_extension.painter import Drawing, LoadedNetwork, Order
from webui_extension.places import NotAllowed


def ask(laboratory: Laboratory, folder: Path, **more: Any) -> Job:
    """Draw a grid of the first checkpoint and wait for it."""
    files = [str(folder / "tilty-step-200.safetensors")]
    asked = schemas.checked({"files": files, "prompts": ["a cat"], **more}, schemas.GRID)
    job = laboratory.start(plan_of(laboratory, asked))
    assert job.ended.wait(60)
    return job


def faults(job: Job) -> list[str]:
    return [cell.fault if cell else "missing" for row in job.grid.table() for cell in row]


def test_runs_are_found(laboratory: Laboratory, folder: Path) -> None:
    assert laboratory.runs() == [folder]
    assert len(laboratory.pick(str(folder)).checkpoints) == 2
    with pytest.raises(NotAllowed):
        laboratory.pick(str(folder.parents[2]))


def test_what_goes_or_is_closed_while_runs_are_listed(
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
    assert laboratory.runs() == [folder] and not gone.exists()


def test_verdicts_before_anything_is_drawn(
    laboratory: Laboratory, folder: Path, host: FakeHost
) -> None:
    plain, dora = laboratory.pick(str(folder)).checkpoints
    assert laboratory.verdict(plain) == "all 2 layers fit"
    assert "Fake 1.0 ignores DoRA's lengths" in laboratory.verdict(dora)
    assert not host.orders


def test_a_grid(laboratory: Laboratory, folder: Path, host: FakeHost) -> None:
    job = ask(laboratory, folder, strengths=["0.5:1"], seeds=[1, 2], prompts=["a cat --n rain"])
    assert (job.state, faults(job)) == ("complete", [""] * 4)
    assert [order.negative_prompt for order in host.orders] == ["rain"] * 4
    assert [order.prompt.partition(" <")[0] for order in host.orders] == ["a cat"] * 4
    assert [order.seed for order in host.orders] == [1, 2, 1, 2]
    assert host.orders[2].prompt.endswith(":0.5:1>") and "<" not in host.orders[0].prompt
    assert laboratory.page(job.plan.id).is_file() and laboratory.picture(job.plan.id).is_file()
    assert laboratory.grids() == [job.plan.id]
    assert str(job.progress).startswith("4 of 4 pictures")


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
        ({"breaks_off": True}, ["", "the host broke off: shape '[4, 4]' is invalid"]),
    ],
)
def test_every_lie_of_the_host_is_marked(
    laboratory: Laboratory, folder: Path, host: FakeHost, lie: dict[str, Any], said: list[str]
) -> None:
    for name, value in lie.items():
        setattr(host, name, value)
    job = ask(laboratory, folder)
    found = faults(job)
    assert found[: len(said)] == said and found[1] and job.state == "complete"


def test_dora_that_is_ignored_is_marked(laboratory: Laboratory, folder: Path) -> None:
    job = ask(laboratory, folder, files=[str(folder / "tilty-step-1000.safetensors")])
    assert faults(job)[0] == "" and "ignores DoRA's lengths" in faults(job)[1]


def test_a_host_that_breaks_off_is_asked_why(
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


def test_interrupted_and_resumed(laboratory: Laboratory, folder: Path, host: FakeHost) -> None:
    host.interrupted_at = 3
    job = ask(laboratory, folder, seeds=[1, 2, 3])
    assert (job.state, len(job.grid.cells)) == ("interrupted", 3)
    host.interrupted_at = 10**6
    host.orders.clear()
    job = ask(laboratory, folder, seeds=[1, 2, 3])
    assert job.state == "complete" and len(host.orders) == 3


def test_an_overwritten_file_fails_the_grid_in_words(laboratory: Laboratory, folder: Path) -> None:
    path = folder / "tilty-step-200.safetensors"
    asked = schemas.checked({"files": [str(path)], "prompts": ["x"]}, schemas.GRID)
    plan = plan_of(laboratory, asked)
    path.write_bytes((folder / "tilty-step-1000.safetensors").read_bytes())
    job = laboratory.start(plan)
    assert job.ended.wait(60)
    assert job.state == "failed" and "was overwritten after it was listed" in job.problem


def test_a_file_that_goes_while_it_is_drawn_is_judged_by_its_copy(
    laboratory: Laboratory, folder: Path, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, draw = folder / "tilty-step-200.safetensors", host.draw

    def without_original(order: Order) -> Drawing | None:
        path.unlink(missing_ok=True)
        return draw(order)

    monkeypatch.setattr(host, "draw", without_original)
    job = ask(laboratory, folder)
    assert (job.state, faults(job)) == ("complete", ["", ""])


def test_votes_lie_beside_the_run(laboratory: Laboratory, folder: Path) -> None:
    grid = ask(laboratory, folder, seeds=[1, 2]).plan.id
    laboratory.vote(grid, 0, 1)
    laboratory.vote(grid, 1, 0)
    assert laboratory.votes(grid) == {"tilty-step-200 at 1": 1, "without adapter": 1}
    kept = json.loads((folder / "lycoris-ext-votes.json").read_text("utf-8"))
    assert [vote["seed"] for vote in kept["votes"]] == [1, 2]
    laboratory.vote(grid, 0, -1)
    assert laboratory.votes(grid) == {"without adapter": 1}
    for row, column in ((2, 0), (0, -2)):
        with pytest.raises(DataError, match="the grid has 2 rows and 2 columns"):
            laboratory.vote(grid, row, column)
    for wrong in ("../../etc/passw", "x" * 16, ""):
        with pytest.raises(NotAllowed):
            laboratory.page(wrong)
    with pytest.raises(DataError, match="this grid has none yet"):
        laboratory.page("0" * 16)


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


def test_the_loaded_model_is_a_part_of_the_grid(
    laboratory: Laboratory, folder: Path, host: FakeHost
) -> None:
    first = ask(laboratory, folder)
    assert first.plan.base_models == ("model-a",)
    host.model = "model-b"
    second = ask(laboratory, folder)
    assert second.plan.id != first.plan.id and second.folder != first.folder


def test_the_winner(laboratory: Laboratory, folder: Path, host: FakeHost) -> None:
    job = ask(laboratory, folder)
    checkpoint = laboratory.checkpoint(str(folder / "tilty-step-200.safetensors"))
    picture = laboratory.best_picture(checkpoint)
    assert picture == job.grid.table()[0][1].path  # type: ignore[union-attr]
    written = laboratory.install(str(checkpoint.path), "Tilty", preview=str(picture), strength=0.8)
    assert [path.name for path in written] == ["Tilty.png", "Tilty.json", "Tilty.safetensors"]
    assert written[2].read_bytes() == checkpoint.path.read_bytes() and host.refreshed == 1
    card = json.loads(written[1].read_text("utf-8"))
    assert card["sd version"] == "SD1" and card["activation text"] == "Tilty"
    assert card["description"] == "loha, 8/1, 200 steps, trained on base.safetensors, sd_v1"
    with Image.open(written[0]) as preview:
        assert preview.size == (16, 16)
    for name, said in (("Tilty", "there is a file of this name"), ("../x", "cannot be a file's")):
        with pytest.raises(ConfigError, match=said):
            laboratory.install(str(checkpoint.path), name)
    with pytest.raises(NotAllowed):
        laboratory.install(str(checkpoint.path), "y", preview="/etc/passwd")
    with pytest.raises(DataError, match="this is no picture"):
        laboratory.install(str(checkpoint.path), "y", preview=str(checkpoint.path))
    assert not list(host.lora_folder().glob("y.*"))


def test_a_winner_that_is_another_file_or_finds_no_room(
    laboratory: Laboratory, folder: Path, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "tilty-step-200.safetensors"
    known = laboratory.checkpoint(str(path))
    picture = folder / "preview.png"
    Image.new("RGB", (8, 8)).save(picture)

    def full(place: Path, content: bytes) -> None:
        if place.suffix == ".safetensors":
            raise EnvironmentFault("cannot be written (No space left on device)")
        atomic_write(place, content)

    with monkeypatch.context() as patch:
        patch.setattr(winner, "atomic_write", full)
        with pytest.raises(EnvironmentFault, match="No space left"):
            laboratory.install(str(path), "Tilty", preview=str(picture))
    assert not list(host.lora_folder().glob("Tilty*"))
    assert len(laboratory.install(str(path), "Tilty", preview=str(picture))) == 3
    path.write_bytes((folder / "tilty-step-1000.safetensors").read_bytes())
    with pytest.raises(DataError, match="was overwritten after it was listed"):
        winner.install_winner(host.lora_folder(), known, "Other")
    assert not list(host.lora_folder().glob("Other*"))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ([], "request: is no JSON object"),
        ({}, "files: is missing"),
        ({"files": "x"}, "files: is 'x', expected array"),
        ({"files": [1]}, "files: is 1, expected string"),
        ({"files": [], "steps": True}, "steps: is True, expected integer"),
        ({"files": [], "stepz": 1}, "stepz: is not known"),
        ({"files": []}, "tests: nothing is chosen"),
        ({"files": [], "prompts": ["a --d 3"]}, "a prompt sets its own seed"),
        ({"files": [], "prompts": ["a"], "strengths": ["x"]}, "'x' is no strength"),
        ({"files": [], "prompts": ["a"], "base_models": ["c"]}, "no such base model"),
        ({"files": [], "tests": ["trigger only"]}, "the tests need the words"),
        ({"files": ["/etc/passwd"], "prompts": ["a"]}, "not inside a folder"),
    ],
)
def test_requests_that_make_no_sense(laboratory: Laboratory, asked: Any, said: str) -> None:
    with pytest.raises(LycorisExtError, match=said):
        plan_of(laboratory, schemas.checked(asked, schemas.GRID))


def test_prompts_bring_no_networks_of_their_own(laboratory: Laboratory, folder: Path) -> None:
    for more in ({"prompts": ["a <lora:x:1>"]}, {"negative_prompts": ["<LYCO:y:1>"]}):
        with pytest.raises(ConfigError, match=r"the prompt holds <l...:\.\.\.>"):
            ask(laboratory, folder, **more)


def test_seeds() -> None:
    assert seeds_of(" 1, 2 5-7") == [1, 2, 5, 6, 7]
    for text in ("", "x", "1-", "1-99999", "1, 8-5"):
        with pytest.raises(ConfigError, match="is no seed"):
            seeds_of(text)


def test_links_that_lead_out_are_refused(
    laboratory: Laboratory, folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.safetensors"
    (folder / "tilty-step-200.safetensors").rename(outside)
    (folder / "link.safetensors").symlink_to(outside)
    listed = laboratory.pick(str(folder))
    assert [known.step for known in listed.checkpoints] == [1000]
    assert listed.refused == (
        ("link.safetensors", "this is not inside a folder that the host allows"),
    )
