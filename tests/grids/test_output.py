"""A grid's files: each is written as far as it can be, and a later one costs no earlier one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lycoris_ext.errors import DataError, EnvironmentFault
from lycoris_ext.grids import output
from lycoris_ext.grids.cells import CellStore, Painted, StoredCell
from lycoris_ext.grids.draw import Grid, draw_grid
from lycoris_ext.grids.entrants import Entrant
from lycoris_ext.grids.output import PAGE, PICTURE, GridWriter, write_grid
from lycoris_ext.grids.plan import GridPlan
from lycoris_ext.grids.plan_file import PLAN, read_faults, read_form, read_grid, read_plan
from lycoris_ext.grids.prompt_tests import PromptTest
from tests.grids.conftest import ColourPainter

PLAN_OF_FOUR = GridPlan.crossed(
    (Entrant("a", "a" * 64),), (PromptTest("a cat"), PromptTest("a dog"))
)


@pytest.fixture
def grid(tmp_path: Path) -> Grid[StoredCell]:
    return draw_grid(PLAN_OF_FOUR, ColourPainter(), CellStore(tmp_path / "store"))


def test_a_noisy_picture_costs_no_file_of_its_grid(tmp_path: Path) -> None:
    """Its JPEG is larger than a byte per pixel."""
    noise = np.random.default_rng(0).integers(0, 256, (448, 448, 3), dtype=np.uint8)
    store, grid = CellStore(tmp_path / "store"), Grid[StoredCell](PLAN_OF_FOUR)
    for number, cell in enumerate(PLAN_OF_FOUR.cells()):
        grid.cells[cell] = store.keep(str(number), Painted(Image.fromarray(noise)))
    write_grid(tmp_path / "grid", grid)
    for name in (PLAN, PAGE, PICTURE):
        assert (tmp_path / "grid" / name).stat().st_size > 0


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        ("grid_picture", OSError("broken data stream")),
        ("grid_picture", MemoryError()),
        ("save_picture", EnvironmentFault("cannot be written (No space left on device)")),
    ],
)
def test_a_picture_that_cannot_be_written_costs_neither_plan_nor_page(
    tmp_path: Path,
    grid: Grid[StoredCell],
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
    error: Exception,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(output, broken, fail)
    writer = GridWriter(tmp_path / "grid")
    writer.finish(grid)
    assert list(writer.problems) == [PICTURE]
    assert read_plan(tmp_path / "grid" / PLAN) == PLAN_OF_FOUR
    assert (tmp_path / "grid" / PAGE).is_file()
    with pytest.raises((DataError, EnvironmentFault)):
        write_grid(tmp_path / "grid", grid)


def test_a_cell_whose_file_is_gone_costs_itself_alone(
    tmp_path: Path, grid: Grid[StoredCell]
) -> None:
    cells = list(grid.cells.values())
    cells[0].path.unlink()
    cells[1].path.write_bytes(cells[1].path.read_bytes()[:60])
    writer = GridWriter(tmp_path / "grid")
    writer.finish(grid)
    assert writer.problems == {}
    assert all((tmp_path / "grid" / name).is_file() for name in (PLAN, PAGE, PICTURE))


def test_a_grid_is_read_back_with_its_pictures_as_far_as_they_were_drawn(tmp_path: Path) -> None:
    store = CellStore(tmp_path / "store")
    painter = ColourPainter(faulty="a", stop_after=3)
    grid = draw_grid(PLAN_OF_FOUR, painter, store)
    GridWriter(tmp_path / "grid", form={"seeds": [1]}).update(grid)
    path = tmp_path / "grid" / PLAN
    assert read_grid(path, store).cells == grid.cells
    assert read_form(path) == {"seeds": [1]}
    assert read_faults(path) == [["", "not loaded"], ["", None]]
    next(iter(grid.cells.values())).path.unlink()
    assert len(read_grid(path, store).cells) == 2


def test_while_a_grid_is_drawn_its_files_are_written_now_and_then(
    tmp_path: Path, grid: Grid[StoredCell], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    write = output.write_plan

    def counted(*values: Any) -> Path:
        written.append("plan")
        return write(*values)

    monkeypatch.setattr(output, "write_plan", counted)
    writer = GridWriter(tmp_path / "grid")
    for _ in range(50):
        writer.update(grid)
    assert len(written) == 1
    writer.finish(grid)
    assert len(written) == 2
