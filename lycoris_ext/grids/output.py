"""Write a grid as a labelled PNG, an HTML page and a JSON plan; read the plan back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.formats import atomic_write
from lycoris_ext.grids.cells import AnyPicture, CellPicture, StoredCell
from lycoris_ext.grids.checkpoints import Checkpoint
from lycoris_ext.grids.draw import Grid
from lycoris_ext.grids.entrants import Entrant, Strength
from lycoris_ext.grids.page import grid_page
from lycoris_ext.grids.plan import Column, GridPlan, Row
from lycoris_ext.grids.prompt_tests import PromptTest
from lycoris_ext.grids.settings import Settings
from lycoris_ext.plots.grid import comparison_grid, crossed_out
from lycoris_ext.plots.png import save_picture

PICTURE, PAGE, PLAN = "grid.png", "grid.html", "grid.json"

#: If the labelled PNG had more pixels than this, its pictures are shrunk.
_MAX_PIXELS = 120_000_000


def write_grid(
    folder: Path,
    grid: Grid[StoredCell],
    *,
    about: str = "",
    checkpoints: Mapping[str, Checkpoint] | None = None,
    votes_url: str = "",
) -> Path:
    """Write grid.png, grid.html and grid.json for a grid, complete or not.

    Args:
        folder: a folder for this grid only; it is made if needed.
        grid: the plan and the pictures drawn so far.
        about: more text under the title, such as the program's version.
        checkpoints, votes_url: see `grid_page`.

    Returns:
        The path of grid.html.

    Raises:
        EnvironmentFault: the disk is full or the folder cannot be written.
    """
    page = grid_page(grid, about=about, checkpoints=checkpoints, votes_url=votes_url)
    picture = grid_picture(grid, title=grid.plan.title, about=about)
    save_picture(folder / PICTURE, picture, grid.parameters)
    atomic_write(folder / PAGE, page.encode("utf-8", "replace"))
    atomic_write(folder / PLAN, _plan_text(grid).encode("utf-8", "replace"))
    return folder / PAGE


def grid_picture(
    grid: Grid[AnyPicture],
    *,
    title: str = "",
    about: str = "",
    beside: Mapping[str, Sequence[Image.Image]] | None = None,
    blocks: int = 1,
) -> Image.Image:
    """Return the grid as one labelled RGB picture; cells with a fault are crossed out in red.

    Args:
        grid: the plan and the pictures drawn so far.
        title: text above the grid; "" leaves it out.
        about: more text under the title, such as the program's version.
        beside: extra columns at the right, heading -> one picture per row, such as photographs.
        blocks: into how many blocks, side by side, the rows are divided.
    """
    plan, table = grid.plan, grid.table()
    others = list((beside or {}).values())
    drawn = [kept.size for line in table for kept in line if kept is not None]
    area = max((width * height for width, height in drawn), default=0)
    total = area * len(table) * (len(plan.columns) + len(others))
    share = min(1.0, (_MAX_PIXELS / total) ** 0.5) if total else 1.0
    # Shrink each picture before opening the next, to save memory.
    cells = [[_shrunk(kept, share) for kept in line] for line in table]
    return comparison_grid(
        [[*line, *(column[row] for column in others)] for row, line in enumerate(cells)],
        plan.row_labels("\n"),
        [*plan.column_labels(), *(beside or {})],
        title=title,
        subtitle=plan.subtitle(about),
        blocks=blocks,
        groups=((1,) if plan.has_bare else ()) + ((len(plan.columns),) if others else ()),
    )


def read_plan(path: Path) -> GridPlan:
    """Read the plan from a grid.json; its adapter files need not exist any more.

    Raises:
        DataError: the file is not what `write_grid` writes.
    """
    with _content(path) as content:
        if "rows" not in content:
            return _crossed(content)
        return GridPlan(
            tuple(
                Row(PromptTest(**row["test"]), row["seed"], row["base_model"], _settings(row))
                for row in content["rows"]
            ),
            tuple(
                Column(
                    column["entrant"] and _entrant(column["entrant"]),
                    Strength(**column["strength"]),
                )
                for column in content["columns"]
            ),
        )


def _crossed(content: Any) -> GridPlan:
    """Turn the JSON that version 0.1.0 wrote into a plan."""
    return GridPlan.crossed(
        tuple(map(_entrant, content["entrants"])),
        tuple(PromptTest(**test) for test in content["tests"]),
        strengths=tuple(Strength(**strength) for strength in content["strengths"]),
        seeds=tuple(content["seeds"]),
        base_models=tuple(content["base_models"]),
        negative_prompts=tuple(content["negative_prompts"]),
        settings=_settings(content),
    )


def _entrant(content: Any) -> Entrant:
    path = content["path"]
    return Entrant(content["name"], content["hash"], None if path is None else Path(path))


def _settings(content: Any) -> Settings:
    known = dict(content["settings"])
    known["extra"] = tuple((name, value) for name, value in known.get("extra", ()))
    return Settings(**known)


def read_faults(path: Path) -> list[list[str | None]]:
    """Read from a grid.json what is wrong with each cell.

    Returns:
        Rows of faults: "" for a cell without fault, None for one that is not drawn. The list is
        empty if version 0.1.0 wrote the file, which did not store faults.

    Raises:
        DataError: the file is not what `write_grid` writes.
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


def _shrunk(kept: CellPicture | None, share: float) -> Image.Image | None:
    if kept is None:
        return None
    picture = crossed_out(kept.picture, "not as asked") if kept.fault else kept.picture
    if share < 1:
        size = (max(1, int(picture.width * share)), max(1, int(picture.height * share)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return picture


def _plan_text(grid: Grid[StoredCell]) -> str:
    content = asdict(grid.plan)
    content["faults"] = [[kept and kept.fault for kept in line] for line in grid.table()]
    text = json.dumps({"id": grid.plan.id, **content}, indent=2, ensure_ascii=False, default=str)
    return text + "\n"
