"""A grid: its plan, which cells are drawn and which are kept, and how it is continued."""

from __future__ import annotations

import weakref
from pathlib import Path

import pytest
from PIL import Image

from lycoris_ext.errors import ConfigError, DataError, EnvironmentFault
from lycoris_ext.grids import output
from lycoris_ext.grids.cells import CellStore, MemoryStore, Painted, StoredCell
from lycoris_ext.grids.draw import GridProgress, draw_grid
from lycoris_ext.grids.entrants import Entrant, Strength, with_unique_names
from lycoris_ext.grids.output import grid_picture, write_grid
from lycoris_ext.grids.plan import Cell, Column, GridPlan, Row, parse_seeds
from lycoris_ext.grids.plan_file import PLAN, read_faults, read_plan
from lycoris_ext.grids.prompt_tests import PROMPT_TESTS, PromptTest, fill
from lycoris_ext.grids.settings import Settings
from lycoris_ext.plots.png import read_parameters
from tests.grids.conftest import ColourPainter, old_plan

A, B = (Entrant(name, name * 64, Path(f"{name}.safetensors")) for name in "ab")


def make_plan(**more: object) -> GridPlan:
    values = {
        "entrants": (A, B),
        "tests": (PromptTest("a cat"), PromptTest("a dog", "dog", "rain")),
        "strengths": (Strength(0.5, 0.5), Strength(0.5, 1.0)),
        "seeds": (1, 2),
    }
    return GridPlan.crossed(**{**values, **more})  # type: ignore[arg-type]


def test_adapters_are_columns_and_all_else_is_rows() -> None:
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
    assert plan.row_labels()[0] == "a cat, x, seed 1"
    assert plan.row_labels()[2] == "a cat, x, seed 1, negative: ugly"
    cells = list(plan.cells())
    assert len(cells) == len(set(cells)) == 16 * 5
    models = [cell.row.base_model for cell in cells]
    assert models == sorted(models), "a base model is changed once"
    half = [cell.column for cell in cells[:40]]
    assert tuple(half[::8]) == plan.columns, "a network is changed once a column"


def test_labels_name_what_differs_and_the_subtitle_what_all_pictures_share() -> None:
    """Together they leave out nothing that decides a picture."""
    karras = Settings(30, sampler="euler", extra=(("scheduler", "karras"),))
    plan = make_plan(tests=(PromptTest("a cat"),), seeds=(3,), settings=karras)
    assert plan.row_labels() == ["a cat"]
    assert plan.subtitle("Host 1") == (
        "euler, scheduler karras, 30 steps, CFG 7, 512x512, seed 3, Host 1"
    )
    simple = Settings(30, 5.0, 64, 96, "euler", 2, (("scheduler", "simple"),))
    rows = (Row(PromptTest("a cat"), 3, "m", karras), Row(PromptTest("", "", "x"), 3, "m", simple))
    plan = GridPlan(rows, (Column(), Column(A)))
    assert plan.row_labels() == [
        "a cat, scheduler karras, CFG 7, 512x512",
        "no prompt, scheduler simple, CFG 5, 64x96, clip skip 2, negative: x",
    ]
    assert plan.subtitle() == "m, euler, 30 steps, seed 3"
    assert plan.column_labels() == ["without adapter", "a"] and plan.title == "a"
    assert make_plan().title == "a, b" and make_plan(entrants=()).title == "without adapter"


def test_whatever_changes_a_picture_changes_its_key_and_nothing_else_does() -> None:
    plan = make_plan()
    (row, *_), (_, column, *_) = plan.rows, plan.columns
    cell = Cell(row, column)
    painter = {"version": "1"}

    def with_settings(**settings: object) -> Row:
        return Row(row.test, row.seed, settings=Settings(**settings))  # type: ignore[arg-type]

    others = [
        Cell(row, Column()),
        Cell(row, Column(B, column.strength)),
        Cell(row, Column(A, Strength(0.5, 0.6))),
        Cell(with_settings(steps=21), column),
        Cell(with_settings(extra=(("scheduler", "karras"),)), column),
        Cell(with_settings(extra=(("scheduler", "simple"),)), column),
        Cell(plan.rows[1], column),
    ]
    keys = {other.key(painter) for other in others} | {cell.key({"version": "2"})}
    assert len(keys) == 8 and cell.key(painter) not in keys
    moved = Entrant("another name", A.hash, Path("elsewhere"))
    assert Cell(row, Column(moved, column.strength)).key(painter) == cell.key(painter)
    bare = Cell(row, Column(strength=Strength(0.1, 0.1)))
    assert bare.key(painter) == others[0].key(painter), "no adapter has no strength"


def test_the_key_of_a_picture_is_that_of_version_0_1_0() -> None:
    """Files named by this key lie in the folders of users."""
    row = Row(PromptTest("a dog", "dog", "rain"), 2, "m", Settings(21, 6.5, 64, 48, "Euler a", 2))
    key = Cell(row, Column(A, Strength(0.5, 1.0))).key({"version": "1"})
    assert key == "9ae02d8f18aa8eaee5e50f97cd11cd04f4cd3f367d0a929a7069101703180a81"


def test_plans_that_make_no_sense_are_refused() -> None:
    for more, said in (
        ({"tests": ()}, "tests: nothing is chosen"),
        ({"seeds": (1, 1)}, "seeds: 1 stands twice"),
        ({"tests": (PromptTest("x"), PromptTest("x")), "seeds": ()}, "(?s)x stands twice.*seeds"),
        ({"entrants": (A, B, A)}, "columns: .* stands twice"),
        ({"entrants": (), "bare": False}, "columns: nothing is chosen"),
        ({"seeds": (-1,)}, "seeds: the seed is -1"),
        ({"seeds": (2**64,)}, f"seeds: the seed is {2**64}"),
        ({"seeds": tuple(range(1000))}, "2,000 rows and 5 columns are 10,000 pictures"),
    ):
        with pytest.raises(ConfigError, match=said):
            make_plan(**more)
    with pytest.raises(ConfigError, match="width is 7"):
        Settings(width=7)
    with pytest.raises(ConfigError, match=r"(?s)vae = 'x' is .*tiles = 2 is no setting"):
        Settings(extra=(("vae", "x"), ("tiles", 2), ("scheduler", "y"))).refuse_extra("scheduler")


def test_adapters_of_one_name_are_labelled_with_their_hashes() -> None:
    other = Entrant("a", "c" * 64)
    assert [e.name for e in with_unique_names([A, other, B, A])] == [
        "a (aaaaaa)",
        "a (cccccc)",
        "b",
    ]
    assert with_unique_names([A, B]) == (A, B)
    with pytest.raises(DataError, match="a: this adapter is only in memory"):
        _ = other.file


def test_seeds_and_ranges_of_seeds_are_read() -> None:
    assert parse_seeds(" 1, 2 5-7") == (1, 2, 5, 6, 7)
    assert parse_seeds(f"{2**53 + 1}") == (2**53 + 1,), "no float holds it"
    for text in ("", "x", "1-", "1-99999", "1, 8-5", " , ", "-1", "1.5"):
        with pytest.raises(ConfigError, match="is no seed"):
            parse_seeds(text)


def test_a_strength_is_one_number_or_two_for_text_encoder_and_unet() -> None:
    assert Strength.parse("0.8") == Strength(0.8, 0.8)
    assert Strength.parse(" 0.5:1") == Strength(0.5, 1.0)
    for text in ("", "x", "1:", "nan", "1e9"):
        with pytest.raises(ConfigError, match="strength"):
            Strength.parse(text)


def test_prompt_tests_are_filled_with_trigger_words_and_tags() -> None:
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


def test_pictures_on_disk_are_not_drawn_again(tmp_path: Path) -> None:
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


def test_an_interrupted_grid_goes_on_with_its_missing_pictures(tmp_path: Path) -> None:
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


def test_a_grid_in_memory_has_the_pictures_of_one_on_disk(tmp_path: Path) -> None:
    store, painter = MemoryStore(), ColourPainter(faulty="b")
    kept = draw_grid(make_plan(), painter, store)
    disk = draw_grid(make_plan(), ColourPainter(faulty="b"), CellStore(tmp_path))
    pictures = [grid_picture(grid, title="t", about="x").tobytes() for grid in (kept, disk)]
    assert pictures[0] == pictures[1] and kept.parameters == disk.parameters == "a cat"
    again = ColourPainter()
    assert draw_grid(make_plan(), again, store).faults == []
    assert {cell.column.adapter for cell in again.painted} == {"b"}, "the rest was there"


def test_a_painter_that_is_stopped_is_closed(tmp_path: Path) -> None:
    """Until it is closed it may hold an adapter in the model."""
    painter, asked = ColourPainter(), iter([False, True])
    draw_grid(make_plan(), painter, MemoryStore(), stopped=lambda: next(asked))
    assert len(painter.painted) == 1 and painter.closed


def test_pictures_that_are_handed_over_stand_in_a_column_beside_the_grid() -> None:
    grid = draw_grid(make_plan(seeds=(1,)), ColourPainter(), MemoryStore())
    real = [Image.new("RGB", (32, 24), (1, 2, 3)) for _ in grid.plan.rows]
    alone, beside = grid_picture(grid), grid_picture(grid, beside={"a photograph": real})
    assert beside.width > alone.width + 32
    colours = {c: n for n, c in beside.getcolors(1 << 20) or []}
    assert colours[1, 2, 3] == 2 * 128 * 96, "both, enlarged as the others are"


def test_a_damaged_picture_is_drawn_again(tmp_path: Path) -> None:
    store, plan = CellStore(tmp_path), make_plan()
    draw_grid(plan, ColourPainter(), store)
    first, second, *_ = sorted(tmp_path.glob("*.png"))
    first.write_bytes(first.read_bytes()[:40])
    second.write_bytes(b"")
    again = ColourPainter()
    draw_grid(plan, again, store)
    assert len(again.painted) == 2


def test_a_picture_that_is_too_large_to_be_opened_is_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CellStore(tmp_path)
    key = "0" * 64
    store.keep(key, Painted(Image.new("RGB", (64, 64))))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert store.find(key) is None and store.kept(key) is None


def test_equal_rows_of_a_plan_become_one(tmp_path: Path) -> None:
    tests = (PromptTest("a cat"), PromptTest("a cat", negative_prompt="ugly"))
    plan = make_plan(tests=tests, negative_prompts=("", "ugly"), seeds=(1,))
    assert [row.test.negative_prompt for row in plan.rows] == ["", "ugly", "ugly, ugly"]
    assert draw_grid(plan, ColourPainter(), CellStore(tmp_path)).complete


def test_rows_that_differ_in_their_labels_alone_are_drawn_once(tmp_path: Path) -> None:
    plan = make_plan(tests=(PromptTest("a cat"), PromptTest("a cat", "trigger only")), seeds=(1,))
    store, painter = CellStore(tmp_path / "cells"), ColourPainter()
    grid = draw_grid(plan, painter, store)
    assert grid.complete and len(painter.painted) == len(plan.columns) == 5
    assert grid.table()[0] == grid.table()[1]


def test_a_folder_of_pictures_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cells").touch()
    with pytest.raises(EnvironmentFault, match="the folder cannot be made"):
        draw_grid(make_plan(), ColourPainter(), CellStore(tmp_path / "cells"))


def test_a_setting_changed_while_drawing_marks_all_later_pictures(tmp_path: Path) -> None:
    store, painter, plan = CellStore(tmp_path), ColourPainter(), make_plan(entrants=(A,))

    def change(now: GridProgress, grid: object) -> None:
        if now.painted == 4:
            painter.version = "2"

    grid = draw_grid(plan, painter, store, progress=change)
    assert [bool(cell.fault) for cell in grid.cells.values()] == [False] * 4 + [True] * 8
    assert "the model or a setting was changed" in grid.faults[0]
    again = ColourPainter()
    assert draw_grid(plan, again, store).faults == [] and len(again.painted) == 8


def test_progress_counts_pictures_and_tells_the_time_that_is_left(tmp_path: Path) -> None:
    told: list[GridProgress] = []
    store = CellStore(tmp_path)
    draw_grid(make_plan(seeds=(1,)), ColourPainter(), store)
    draw_grid(make_plan(), ColourPainter(), store, progress=lambda now, _: told.append(now))
    assert [now.done for now in told] == list(range(10, 21))
    assert told[0].seconds_left is None and told[-1].seconds_left == 0
    assert str(told[0]) == "10 of 20 pictures, 10 of them drawn earlier"
    now = GridProgress(3, 9, 3, 3700.0, "a, a cat")
    assert str(now) == "3 of 9 pictures, 1 h 01 min left (a, a cat)"


def test_a_written_plan_is_read_back_with_its_faults_and_a_damaged_one_refused(
    tmp_path: Path,
) -> None:
    plan = make_plan(settings=Settings(extra=(("scheduler", "karras"),)))
    painter = ColourPainter(faulty="b", stop_after=18)
    grid = draw_grid(plan, painter, CellStore(tmp_path / "cells"))
    page = write_grid(tmp_path / "grid", grid)
    with Image.open(page.with_name("grid.png")) as picture:
        assert picture.width > 5 * 32 and picture.height > 4 * 24
    assert read_parameters(page.with_name("grid.png")) == "a cat"
    again = read_plan(page.with_name(PLAN))
    assert again == plan and again.id == plan.id
    assert [entrant.path for entrant in again.entrants] == [A.path, B.path]
    assert read_faults(page.with_name(PLAN))[3] == ["", "", "", "not loaded", None]
    written = page.with_name(PLAN).read_text(encoding="utf-8")
    for text in (
        '{"tests": 1}',
        '{"rows": 1}',
        written.replace('"seed', '"sed'),
        written.replace('"test"', '"tset"'),
        written.replace('"clip_skip": 1', '"clip_skip": 99'),
    ):
        page.with_name(PLAN).write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match="this is no plan of a grid"):
            read_plan(page.with_name(PLAN))


def test_a_plan_of_version_0_1_0_is_read(tmp_path: Path) -> None:
    """A page of that version still posts votes by row and column."""
    path = tmp_path / PLAN
    path.write_text(old_plan(A), encoding="utf-8")
    plan = read_plan(path)
    assert plan.columns == (Column(), Column(A, Strength(0.5, 1.0)))
    assert [row.seed for row in plan.rows] == [1, 2]
    assert plan.rows[0].test == PromptTest("a cat", "", "ugly")
    assert plan.rows[0].settings.sampler == "Euler a" and plan.base_models == ("m",)
    assert read_faults(path) == [["", "x"], ["", None]]


def test_a_faulty_cell_is_crossed_out_in_the_picture(tmp_path: Path) -> None:
    plan = make_plan(entrants=(B,), strengths=(Strength(),), seeds=(1,))
    red = (179, 38, 30)
    shares = []
    for faulty in ("", "b"):
        grid = draw_grid(plan, ColourPainter(faulty=faulty), CellStore(tmp_path / f"x{faulty}"))
        picture = grid_picture(grid, title="")
        shares.append(sum(n for n, c in picture.getcolors(1 << 20) or [] if c == red))
    assert shares[0] == 0 < shares[1]


def test_a_large_grid_holds_one_picture_of_full_size_in_memory_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[weakref.ref[Image.Image]] = []
    read = StoredCell.picture.fget
    assert read is not None

    def watched(stored: StoredCell) -> Image.Image:
        assert not any(earlier() for earlier in opened), "one of full size is still in memory"
        picture = read(stored)
        opened.append(weakref.ref(picture))
        return picture

    monkeypatch.setattr(output, "_MAX_PIXELS", 5000)
    grid = draw_grid(make_plan(), ColourPainter(), CellStore(tmp_path))
    monkeypatch.setattr(StoredCell, "picture", property(watched))
    grid_picture(grid, title="")
    assert len(opened) == 20
