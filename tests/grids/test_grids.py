"""A grid: its plan, what is drawn and kept, and what continues."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from lycoris_ext.errors import ConfigError, DataError, EnvironmentFault
from lycoris_ext.grids import output
from lycoris_ext.grids.cells import CellStore, StoredCell
from lycoris_ext.grids.draw import GridProgress, draw_grid
from lycoris_ext.grids.output import PLAN, grid_picture, read_plan, write_grid
from lycoris_ext.grids.plan import Cell, Column, Entrant, GridPlan, Settings, Strength
from lycoris_ext.grids.prompt_tests import PROMPT_TESTS, PromptTest, fill
from lycoris_ext.plots.png import read_parameters
from tests.grids.conftest import ColourPainter

A, B = (Entrant(name, name * 64, Path(f"{name}.safetensors")) for name in "ab")


def make_plan(**more: object) -> GridPlan:
    values = {
        "entrants": (A, B),
        "tests": (PromptTest("a cat"), PromptTest("a dog", "dog", "rain")),
        "strengths": (Strength(0.5, 0.5), Strength(0.5, 1.0)),
        "seeds": (1, 2),
    }
    return GridPlan(**{**values, **more})  # type: ignore[arg-type]


def test_axes() -> None:
    plan = make_plan(base_models=("x", "y"), negative_prompts=("", "ugly"))
    assert plan.column_labels() == [
        "without adapter",
        "a at 0.5",
        "a at 0.5:1",
        "b at 0.5",
        "b at 0.5:1",
    ]
    assert len(plan.rows) == 2 * 2 * 2 * 2
    assert plan.rows[-1].test.negative_prompt == "rain, ugly"
    assert plan.row_labels()[0] == "a cat, not: nothing, seed 1, x"
    cells = list(plan.cells())
    assert len(cells) == len(set(cells)) == 16 * 5
    models = [cell.row.base_model for cell in cells]
    assert models == sorted(models), "a base model is changed once"
    half = [cell.column for cell in cells[:40]]
    assert [half[i] for i in range(0, 40, 8)] == plan.columns, "a network is changed once a column"


def test_what_decides_a_picture_decides_its_key() -> None:
    (row, *_), (_, column, *_) = make_plan().rows, make_plan().columns
    cell = Cell(row, column, Settings())
    painter = {"version": "1"}
    others = [
        Cell(row, Column(), Settings()),
        Cell(row, Column(B, column.strength), Settings()),
        Cell(row, Column(A, Strength(0.5, 0.6)), Settings()),
        Cell(row, column, Settings(steps=21)),
        Cell(make_plan().rows[1], column, Settings()),
    ]
    keys = {other.key(painter) for other in others} | {cell.key({"version": "2"})}
    assert len(keys) == 6 and cell.key(painter) not in keys
    moved = Entrant("another name", A.hash, Path("elsewhere"))
    assert Cell(row, Column(moved, column.strength), Settings()).key(painter) == cell.key(painter)
    bare = Cell(row, Column(strength=Strength(0.1, 0.1)), Settings())
    assert bare.key(painter) == others[0].key(painter), "no adapter has no strength"


def test_plans_that_make_no_sense() -> None:
    for more, said in (
        ({"tests": ()}, "tests: nothing is chosen"),
        ({"seeds": (1, 1)}, "seeds: something stands twice"),
        ({"entrants": (A, Entrant("c", A.hash, Path("c")))}, "two of the files are the same"),
        ({"seeds": (-1,)}, "seeds: the seed is -1"),
        ({"seeds": tuple(range(1000))}, "2000 rows and 5 columns are 10000 pictures"),
    ):
        with pytest.raises(ConfigError, match=said):
            make_plan(**more)
    with pytest.raises(ConfigError, match="width is 7"):
        Settings(width=7)
    with pytest.raises(ConfigError, match="a prompt is empty"):
        PromptTest("  ")


def test_strengths() -> None:
    assert Strength.parse("0.8") == Strength(0.8, 0.8)
    assert Strength.parse(" 0.5:1") == Strength(0.5, 1.0)
    for text in ("", "x", "1:", "nan", "1e9"):
        with pytest.raises(ConfigError, match="strength"):
            Strength.parse(text)


def test_prompt_tests_are_about_the_adapter() -> None:
    tests = fill(list(PROMPT_TESTS), "Tilty,", ["Tilty", "aniscreen", "smile"], "aniscreen")
    assert [(test.prompt, test.negative_prompt) for test in tests] == [
        ("Tilty", ""),
        ("Tilty, smile", ""),
        ("Tilty, smile", "aniscreen"),
        ("Tilty, smile, holding an umbrella", ""),
        ("a lighthouse by the sea, Tilty", ""),
    ]
    assert tests[2].title == "aniscreen in the negative"
    assert fill(["trigger with tags"], "{x}", ["{tags}"])[0].prompt == "{x}, {tags}"
    with pytest.raises(ConfigError, match="the tests need the words"):
        fill(["trigger only"], " , ")
    with pytest.raises(ConfigError, match="there is no prompt test 'x'"):
        fill(["x"], "Tilty")


def test_nothing_is_drawn_twice(tmp_path: Path) -> None:
    store, painter, plan = CellStore(tmp_path), ColourPainter(), make_plan()
    grid = draw_grid(plan, painter, store)
    assert grid.complete and len(painter.painted) == 20
    again = ColourPainter()
    assert draw_grid(plan, again, store).complete and not again.painted
    wider = draw_grid(make_plan(seeds=(1, 2, 3)), again, store)
    assert wider.complete and len(again.painted) == 10
    other = ColourPainter(version="2")
    draw_grid(plan, other, store)
    assert len(other.painted) == 20, "another version of the program draws other pictures"


def test_an_interrupted_grid_goes_on(tmp_path: Path) -> None:
    store, plan = CellStore(tmp_path), make_plan()
    grid = draw_grid(plan, ColourPainter(stop_after=7), store)
    assert not grid.complete and len(grid.cells) == 7
    asked = iter([False] * 4 + [True])
    grid = draw_grid(plan, ColourPainter(), store, stopped=lambda: next(asked))
    assert len(grid.cells) == 11
    rest = ColourPainter()
    assert draw_grid(plan, rest, store).complete and len(rest.painted) == 9


def test_a_cell_with_a_fault_is_marked_and_tried_again(tmp_path: Path) -> None:
    store, plan = CellStore(tmp_path), make_plan()
    grid = draw_grid(plan, ColourPainter(faulty="b"), store)
    assert grid.faults == ["b, 8 pictures: not loaded"]
    repaired = ColourPainter()
    assert draw_grid(plan, repaired, store).faults == []
    assert {cell.column.adapter for cell in repaired.painted} == {"b"}


def test_a_damaged_picture_is_drawn_again(tmp_path: Path) -> None:
    store, plan = CellStore(tmp_path), make_plan()
    draw_grid(plan, ColourPainter(), store)
    first, second, *_ = sorted(tmp_path.glob("*.png"))
    first.write_bytes(first.read_bytes()[:40])
    second.write_bytes(b"")
    again = ColourPainter()
    draw_grid(plan, again, store)
    assert len(again.painted) == 2


def test_rows_that_come_out_the_same_are_one(tmp_path: Path) -> None:
    tests = (PromptTest("a cat"), PromptTest("a cat", negative_prompt="ugly"))
    plan = make_plan(tests=tests, negative_prompts=("", "ugly"), seeds=(1,))
    assert [row.test.negative_prompt for row in plan.rows] == ["", "ugly", "ugly, ugly"]
    assert draw_grid(plan, ColourPainter(), CellStore(tmp_path)).complete


def test_rows_that_differ_in_their_labels_are_drawn_once(tmp_path: Path) -> None:
    plan = make_plan(tests=(PromptTest("a cat"), PromptTest("a cat", "trigger only")), seeds=(1,))
    store, painter = CellStore(tmp_path / "cells"), ColourPainter()
    grid = draw_grid(plan, painter, store)
    assert grid.complete and len(painter.painted) == len(plan.columns) == 5
    assert grid.table()[0] == grid.table()[1]


def test_a_folder_of_pictures_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "cells").touch()
    with pytest.raises(EnvironmentFault, match="the folder cannot be made"):
        draw_grid(make_plan(), ColourPainter(), CellStore(tmp_path / "cells"))


def test_a_setting_changed_on_the_way_is_a_fault(tmp_path: Path) -> None:
    store, painter, plan = CellStore(tmp_path), ColourPainter(), make_plan(entrants=(A,))

    def change(now: GridProgress, grid: object) -> None:
        if now.painted == 4:
            painter.version = "2"

    grid = draw_grid(plan, painter, store, progress=change)
    assert [bool(cell.fault) for cell in grid.cells.values()] == [False] * 4 + [True] * 8
    assert "a setting that decides pictures was changed" in grid.faults[0]
    again = ColourPainter()
    assert draw_grid(plan, again, store).faults == [] and len(again.painted) == 8


def test_progress_tells_what_is_left(tmp_path: Path) -> None:
    told: list[GridProgress] = []
    store = CellStore(tmp_path)
    draw_grid(make_plan(seeds=(1,)), ColourPainter(), store)
    draw_grid(make_plan(), ColourPainter(), store, progress=lambda now, _: told.append(now))
    assert [now.done for now in told] == list(range(10, 21))
    assert told[0].seconds_left is None and told[-1].seconds_left == 0
    assert str(told[0]) == "10 of 20 pictures, 10 of them there already"
    now = GridProgress(3, 9, 3, 3700.0, "a, a cat")
    assert str(now) == "3 of 9 pictures, 1 h 01 min left (a, a cat)"


def test_a_grid_on_disk(tmp_path: Path) -> None:
    plan = make_plan()
    painter = ColourPainter(faulty="b", stop_after=18)
    grid = draw_grid(plan, painter, CellStore(tmp_path / "cells"))
    page = write_grid(tmp_path / "grid", grid, title="a and b")
    with Image.open(page.with_name("grid.png")) as picture:
        assert picture.width > 5 * 32 and picture.height > 4 * 24
    assert read_parameters(page.with_name("grid.png")) == "a cat"
    again = read_plan(page.with_name(PLAN))
    assert again == plan and again.id == plan.id
    written = page.with_name(PLAN).read_text(encoding="utf-8")
    for text in (
        '{"tests": 1}',
        written.replace('"seed', '"sed'),
        written.replace('"a dog"', "3"),
        written.replace('"clip_skip": 1', '"clip_skip": 99'),
    ):
        page.with_name(PLAN).write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match="this is no plan of a grid"):
            read_plan(page.with_name(PLAN))


def test_a_fault_is_seen_in_the_picture(tmp_path: Path) -> None:
    plan = make_plan(entrants=(B,), strengths=(Strength(),), seeds=(1,))
    red = (179, 38, 30)
    shares = []
    for faulty in ("", "b"):
        grid = draw_grid(plan, ColourPainter(faulty=faulty), CellStore(tmp_path / f"x{faulty}"))
        picture = grid_picture(grid, title="")
        shares.append(sum(n for n, c in picture.getcolors(1 << 20) or [] if c == red))
    assert shares[0] == 0 < shares[1]


def test_one_large_picture_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Image.Image] = []
    open_one = output._open

    def watched(stored: StoredCell) -> Image.Image:
        assert all(picture.width < 32 for picture in opened)
        opened.append(open_one(stored))
        return opened[-1]

    monkeypatch.setattr(output, "_MAX_PIXELS", 5000)
    monkeypatch.setattr(output, "_open", watched)
    grid = draw_grid(make_plan(), ColourPainter(), CellStore(tmp_path))
    grid_picture(grid, title="")
    assert len(opened) == 20
