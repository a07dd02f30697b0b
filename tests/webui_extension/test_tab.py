"""The tab's handlers, with a stand-in for gradio; tests/hosts clicks in the real tab."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from tests.webui_extension.conftest import FakeHost, ask
from webui_extension import laboratory as module
from webui_extension import schemas
from webui_extension.asked import draw as draw_asked
from webui_extension.form import FIELDS
from webui_extension.laboratory import Laboratory
from webui_extension.painter import Drawn, Order
from webui_extension.parts import label
from webui_extension.tab_grid import build_test
from webui_extension.tab_kept import build_kept
from webui_extension.tab_pick import Picked, build_pick
from webui_extension.tab_use import build_use

PICKED = Picked(None, None, None)
NUMBERS = {"Steps": "20", "CFG scale": "7", "Sampler": ["Euler"], "Clip skip": "1"}
SIZE = {"Width": 512, "Height": 512}


@pytest.fixture
def gradio(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """Replace gradio by a mock in which `update` returns its arguments."""
    there = MagicMock()
    there.update = dict
    monkeypatch.setitem(sys.modules, "gradio", there)
    return there


def clicked(gradio: MagicMock, index: int) -> Callable[..., Any]:
    """Return the handler of a button, by the order of buttons on the page."""
    return gradio.Button.return_value.click.call_args_list[index].args[0]  # type: ignore[no-any-return]


def test_an_empty_number_field_is_named_and_nothing_is_drawn(
    gradio: MagicMock, laboratory: Laboratory, folder: Path
) -> None:
    build_test(laboratory, PICKED, None)
    start = clicked(gradio, 0)
    texts = (str(folder), [], "", "a cat", [], "", "", "1", "1", [])
    for emptied in {**NUMBERS, **SIZE}:
        values = [None if name == emptied else value for name, value in (NUMBERS | SIZE).items()]
        said, *_ = start("dark", *texts, *values, "", [], [], "", [])
        assert f"{emptied}: the field is empty\n  -&gt; write " in said
    assert laboratory.jobs.last is None


def test_an_empty_strength_field_is_named_and_nothing_is_installed(
    gradio: MagicMock, laboratory: Laboratory, folder: Path, host: FakeHost
) -> None:
    build_use(laboratory, PICKED)
    chosen = label(laboratory.pick(str(folder)).checkpoints[0])
    (said,) = clicked(gradio, 1)(str(folder), chosen, "Tilty", None, "", False)
    assert "Preferred strength: the field is empty" in said
    assert not list(host.lora_folder().glob("Tilty*"))


def test_a_grid_that_ended_by_an_error_is_shown_with_the_error(
    gradio: MagicMock, laboratory: Laboratory, folder: Path
) -> None:
    build_test(laboratory, PICKED, None)
    job = ask(laboratory, folder)
    job.problem = "No space left"
    said, page, again = clicked(gradio, 1)("dark")
    assert "No space left" in said and again == {}
    assert f'src="lycoris-ext/v1/grids/{job.plan.id}/page?__theme=dark"' in page


def test_progress_is_asked_for_again_until_the_grid_ends_and_its_page_is_shown_once(
    gradio: MagicMock, laboratory: Laboratory, folder: Path, host: FakeHost
) -> None:
    _, poll = build_test(laboratory, PICKED, None)
    assert poll.resume("dark", "") == [{}, {}, {}], "nothing was drawn"
    go_on = threading.Event()
    draw = host.draw

    def slow(order: Order) -> Drawn | None:
        assert len(host.orders) < 1 or go_on.wait(60)
        return draw(order)

    host.draw = slow  # type: ignore[method-assign]
    files = [str(folder / "tilty-step-200.safetensors")]
    draw_asked(laboratory, schemas.checked({"files": files, "prompts": ["a"]}, schemas.GRID))
    job = laboratory.jobs.last
    assert job is not None
    while not (job.folder / "grid.html").is_file():
        time.sleep(0.01)
    said, page, first = poll.resume("dark", "")
    assert "of 2 pictures" in said and "<iframe" in page
    said, shown, second = poll.first("dark", page)
    assert shown == {} and isinstance(first, str) and first != second, "its change asks again"
    go_on.set()
    assert job.ended.wait(60)
    said, shown, last = poll.first("dark", page)
    assert "complete" in said and "<iframe" in shown and last == {}


def test_a_page_of_an_earlier_drawing_is_not_shown_as_new(
    laboratory: Laboratory, folder: Path
) -> None:
    job = ask(laboratory, folder)
    assert job.page_is_new
    job.started = time.time() + 1
    assert not job.page_is_new
    (job.folder / "grid.html").unlink()
    assert not job.page_is_new


def test_the_tab_says_that_not_all_folders_were_searched(
    gradio: MagicMock, laboratory: Laboratory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_pick(laboratory)
    assert clicked(gradio, 0)() == {"choices": [str(folder)], "info": ""}
    monkeypatch.setattr(module, "_MAX_SEARCHED", 1)
    assert clicked(gradio, 0)()["info"].startswith("The search stopped after 1 folder")


def test_the_buttons_of_a_grid_put_it_back_go_on_with_it_hide_and_delete_it(
    gradio: MagicMock, laboratory: Laboratory, folder: Path
) -> None:
    grid = ask(laboratory, folder, seeds=[3]).plan.id
    build_kept(
        laboratory, None, dict.fromkeys(FIELDS), lambda: ["left"], lambda choice: str(choice)
    )
    go_on, again, hide, show, delete = (clicked(gradio, index) for index in range(5))
    *values, said = again(grid)
    assert values[FIELDS.index("seeds")] == {"value": "3"} and "Page 2" in said
    assert values[FIELDS.index("chosen")]["value"] == values[FIELDS.index("chosen")]["choices"][:1]
    assert "2 pictures" in go_on(grid)[0]
    assert laboratory.jobs.last and laboratory.jobs.last.ended.wait(60)
    assert hide(grid)[0] == {"choices": ["left"], "value": None} and laboratory.grids() == []
    show()
    assert laboratory.grids() == [grid]
    assert "tick it first" in delete(grid, False)[-1] and laboratory.grids() == [grid]
    delete(grid, True)
    assert laboratory.grids() == []
    assert "draw the grid first" in again(grid)[-1]
