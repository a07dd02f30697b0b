"""A page's pictures: files beside it, written once, or inside it in a single file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lycoris_ext.errors import DataError
from lycoris_ext.grids.cells import CellStore, Painted
from lycoris_ext.grids.draw import Grid, draw_grid
from lycoris_ext.grids.entrants import Entrant
from lycoris_ext.grids.page import single_file, write_page
from lycoris_ext.grids.plan import Cell, GridPlan
from lycoris_ext.grids.prompt_tests import PromptTest
from tests.grids.conftest import ColourPainter
from tests.grids.test_page import content_of

PLAN = GridPlan.crossed((Entrant("b", "b" * 64, Path("b")),), (PromptTest("a"),))


def sources(page: Path) -> list[str]:
    cells = content_of(page.read_text(encoding="utf-8"))["cells"]
    return [cell and cell["src"] for line in cells for cell in line]


def noise(size: int, seed: int = 0) -> Image.Image:
    numbers = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(numbers)


def noisy_grid(folder: Path, size: int = 448, fault: str = "", seed: int = 0) -> Grid:  # type: ignore[type-arg]
    store = CellStore(folder / "store")
    cells = PLAN.cells()
    return Grid(
        PLAN,
        {
            cell: store.keep(str(number) * 64, Painted(noise(size, seed), "p", fault))
            for number, cell in enumerate(cells)
        },
    )


def test_a_page_names_pictures_that_lie_beside_it(tmp_path: Path) -> None:
    grid = draw_grid(PLAN, ColourPainter(), CellStore(tmp_path / "store"))
    page = write_page(tmp_path / "grid", grid)
    for address, stored in zip(sources(page), grid.table()[0], strict=True):
        assert stored is not None and address == f"cells/{stored.path.name}"
        assert (page.parent / address).read_bytes() == stored.path.read_bytes()
    assert page.stat().st_size < 40_000


def test_a_picture_of_noise_is_written_as_jpeg(tmp_path: Path) -> None:
    # A cell that drawing at too high a strength spoils; at 448 pixels it once lost its whole grid.
    page = write_page(tmp_path / "grid", noisy_grid(tmp_path))
    for address in sources(page):
        assert address.endswith(".jpg")
        with Image.open(page.parent / address) as picture:
            assert picture.format == "JPEG" and picture.size == (448, 448)


def test_pictures_are_written_once_while_the_page_is_written_often(tmp_path: Path) -> None:
    grid = noisy_grid(tmp_path)
    cells = dict(grid.cells)
    first, _ = PLAN.cells()
    grid.cells = {first: cells[first]}
    page = write_page(tmp_path / "grid", grid, running=True)
    assert [bool(each) for each in sources(page)] == [True, False]
    assert content_of(page.read_text("utf-8"))["running"] is True
    written = (page.parent / sources(page)[0]).stat().st_mtime_ns
    grid.cells = cells
    write_page(tmp_path / "grid", grid)
    assert [bool(each) for each in sources(page)] == [True, True]
    assert content_of(page.read_text("utf-8"))["running"] is False
    assert (page.parent / sources(page)[0]).stat().st_mtime_ns == written


def test_a_faulty_picture_that_is_drawn_anew_replaces_the_old_one(tmp_path: Path) -> None:
    page = write_page(tmp_path / "grid", noisy_grid(tmp_path, fault="not loaded"))
    old = sources(page)
    write_page(tmp_path / "grid", noisy_grid(tmp_path, fault="not loaded", seed=1))
    assert not set(old) & set(sources(page))
    beside = {f"cells/{path.name}" for path in (tmp_path / "grid" / "cells").iterdir()}
    assert beside == set(sources(page))


def test_an_old_picture_that_is_held_open_costs_no_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = sources(write_page(tmp_path / "grid", noisy_grid(tmp_path, fault="not loaded")))
    (tmp_path / "grid" / "cells" / "faulty").mkdir()
    unlink = Path.unlink

    def on_windows(path: Path, missing_ok: bool = False) -> None:
        if path.name == Path(old[0]).name:
            raise PermissionError(13, "used by another process", str(path))
        unlink(path, missing_ok=missing_ok)

    new = noisy_grid(tmp_path, fault="not loaded", seed=1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", on_windows)
        page = write_page(tmp_path / "grid", new)
    beside = {path.name for path in (tmp_path / "grid" / "cells").glob("*.jpg")}
    assert beside == {Path(address).name for address in (old[0], *sources(page))}
    write_page(tmp_path / "grid", new)
    assert not (tmp_path / "grid" / old[0]).exists()


def test_a_picture_that_was_deleted_reads_not_drawn_and_one_beside_the_page_stays(
    tmp_path: Path,
) -> None:
    grid = noisy_grid(tmp_path)
    first, _ = PLAN.cells()
    kept = Grid(PLAN, {first: grid.cells[first]})
    write_page(tmp_path / "grid", kept, running=True)
    for stored in grid.cells.values():
        stored.path.unlink()
    page = write_page(tmp_path / "grid", grid)
    assert [bool(each) for each in sources(page)] == [True, False]


def test_a_single_file_holds_its_pictures_and_runs_no_more(tmp_path: Path) -> None:
    grid = draw_grid(PLAN, ColourPainter(), CellStore(tmp_path / "store"))
    page = write_page(tmp_path / "grid", grid, about="</script> @data@", running=True)
    text = single_file(page)
    content = content_of(text)
    assert content["running"] is False and content["subtitle"].endswith("</script> @data@")
    assert all(cell["src"].startswith("data:image/png;base64,") for cell in content["cells"][0])
    assert single_file(_saved(tmp_path / "one.html", text)) == text


@pytest.mark.parametrize("text", ["", "<html>", '<script type="application/json" id="data">{}'])
def test_a_file_that_is_no_page_of_a_grid_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="this is no page of a grid"):
        single_file(_saved(tmp_path / "x.html", text))


def test_a_page_whose_picture_is_gone_is_no_single_file(tmp_path: Path) -> None:
    page = write_page(tmp_path / "grid", noisy_grid(tmp_path))
    (page.parent / sources(page)[0]).unlink()
    with pytest.raises(DataError, match="this is no page of a grid"):
        single_file(page)


def test_three_thousand_pictures_make_a_page_of_a_few_megabytes(tmp_path: Path) -> None:
    store = CellStore(tmp_path / "store")
    stored = store.keep("0" * 64, Painted(Image.new("RGB", (8, 8)), "parameters " * 40))
    entrants = (Entrant(f"tilty-{i:06}", f"{i:064}", Path(str(i))) for i in range(9))
    plan = GridPlan.crossed(entrants, (PromptTest("a cat, " * 20),), seeds=tuple(range(300)))
    grid = Grid(plan, dict.fromkeys((Cell(r, c) for r in plan.rows for c in plan.columns), stored))
    assert write_page(tmp_path / "grid", grid).stat().st_size < 3_000_000
    assert len(list((tmp_path / "grid" / "cells").iterdir())) == 1


def _saved(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
