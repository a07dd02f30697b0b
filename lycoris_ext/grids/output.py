"""What is left of a grid on disk: a labelled PNG, a page, and the plan itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.formats import atomic_write
from lycoris_ext.grids.cells import StoredCell
from lycoris_ext.grids.checkpoints import Checkpoint
from lycoris_ext.grids.draw import Grid
from lycoris_ext.grids.page import grid_page
from lycoris_ext.grids.plan import Entrant, GridPlan, Settings, Strength
from lycoris_ext.grids.prompt_tests import PromptTest
from lycoris_ext.plots.fonts import font
from lycoris_ext.plots.grid import comparison_grid
from lycoris_ext.plots.png import save_picture

PICTURE, PAGE, PLAN = "grid.png", "grid.html", "grid.json"

#: A sheet of more pixels than this is drawn from smaller pictures.
_MAX_PIXELS = 120_000_000
_FAULT = (179, 38, 30)


def write_grid(
    folder: Path,
    grid: Grid,
    *,
    title: str,
    subtitle: str = "",
    checkpoints: Mapping[str, Checkpoint] | None = None,
    votes_url: str = "",
) -> Path:
    """Write grid.png, grid.html and grid.json of a grid, complete or not.

    Args:
        folder: of this grid alone; made if it is not there.
        grid: what is drawn so far.
        title, subtitle, checkpoints, votes_url: see `grid_page`.

    Returns:
        The page.

    Raises:
        EnvironmentFault: the disk is full or the folder cannot be written.
    """
    page = grid_page(
        grid, title=title, subtitle=subtitle, checkpoints=checkpoints, votes_url=votes_url
    )
    picture = grid_picture(grid, title=title, subtitle=subtitle)
    save_picture(folder / PICTURE, picture, _parameters(grid))
    atomic_write(folder / PAGE, page.encode("utf-8", "replace"))
    atomic_write(folder / PLAN, _plan_text(grid).encode("utf-8", "replace"))
    return folder / PAGE


def grid_picture(grid: Grid, *, title: str, subtitle: str = "") -> Image.Image:
    """The grid as one labelled picture; cells with a fault are crossed out in red."""
    table = grid.table()
    sizes = [_size(stored) for line in table for stored in line if stored is not None]
    area = max((width * height for width, height in sizes), default=0)
    total = area * len(table) * len(grid.plan.columns)
    share = min(1.0, (_MAX_PIXELS / total) ** 0.5) if total else 1.0
    # Each is shrunk before the next is opened.
    return comparison_grid(
        [[_shrunk(stored, share) for stored in line] for line in table],
        grid.plan.row_labels(),
        grid.plan.column_labels(),
        title=title,
        subtitle=subtitle,
        groups=(1,),
    )


def read_plan(path: Path) -> GridPlan:
    """The plan of a grid that was written; its files may have moved since.

    Raises:
        DataError: it is not what `write_grid` writes.
    """
    with _content(path) as content:
        return GridPlan(
            tuple(Entrant(e["name"], e["hash"], Path(e["path"])) for e in content["entrants"]),
            tuple(PromptTest(**test) for test in content["tests"]),
            tuple(Strength(**strength) for strength in content["strengths"]),
            tuple(content["seeds"]),
            tuple(content["base_models"]),
            tuple(content["negative_prompts"]),
            Settings(**content["settings"]),
        )


def read_faults(path: Path) -> list[list[str | None]]:
    """Rows of what is wrong with each cell that was written: "" is right, None is not drawn.

    Returns:
        No rows where the file is of an earlier version, which does not tell.

    Raises:
        DataError: it is not what `write_grid` writes.
    """
    with _content(path) as content:
        faults: list[list[str | None]] = content.get("faults", [])
        return faults


@contextmanager
def _content(path: Path) -> Iterator[Any]:
    try:
        yield json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ConfigError) as error:
        raise DataError(
            f"this is no plan of a grid ({error})", where=str(path), fix="draw the grid again"
        ) from error


def _size(stored: StoredCell) -> tuple[int, int]:
    with Image.open(stored.path) as file:
        return file.size


def _shrunk(stored: StoredCell | None, share: float) -> Image.Image | None:
    if stored is None:
        return None
    picture = _open(stored)
    if share < 1:
        size = (max(1, int(picture.width * share)), max(1, int(picture.height * share)))
        picture.thumbnail(size, Image.Resampling.LANCZOS)
    return picture


def _open(stored: StoredCell) -> Image.Image:
    with Image.open(stored.path) as file:
        picture = file.convert("RGB")
    if stored.fault:
        draw, (width, height) = ImageDraw.Draw(picture), picture.size
        thick = max(2, width // 64)
        draw.line((0, 0, width, height), fill=_FAULT, width=thick)
        draw.line((0, height, width, 0), fill=_FAULT, width=thick)
        draw.rectangle((0, 0, width - 1, height - 1), outline=_FAULT, width=thick)
        size = max(9, width // 10)
        draw.rectangle((0, height - 1.5 * size, width, height), fill=_FAULT)
        draw.text((size // 2, height - 1.35 * size), "not as asked", font=font(size), fill="white")
    return picture


def _parameters(grid: Grid) -> str:
    """The text of the first picture with an adapter, which a host can paste back."""
    stored = [cell for line in grid.table() for cell in line[1:] + line[:1] if cell is not None]
    return stored[0].parameters if stored else ""


def _plan_text(grid: Grid) -> str:
    content = asdict(grid.plan)
    for entrant in content["entrants"]:
        entrant["path"] = str(entrant["path"])
    content["faults"] = [[stored and stored.fault for stored in line] for line in grid.table()]
    return json.dumps({"id": grid.plan.id, **content}, indent=2, ensure_ascii=False) + "\n"
