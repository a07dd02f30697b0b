"""Write a grid as a plan, an HTML page and a labelled PNG, also while it is being drawn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from lycoris_ext.errors import DataError, LycorisExtError, together
from lycoris_ext.grids.cells import AnyPicture, CellPicture, StoredCell
from lycoris_ext.grids.checkpoints import Checkpoint
from lycoris_ext.grids.draw import Grid
from lycoris_ext.grids.page import PAGE, write_page
from lycoris_ext.grids.plan_file import PLAN, write_plan
from lycoris_ext.plots.grid import comparison_grid, crossed_out
from lycoris_ext.plots.png import BROKEN, save_picture

PICTURE = "grid.png"

#: If the labelled PNG had more pixels than this, its pictures are shrunk.
_MAX_PIXELS = 120_000_000
#: While a grid is drawn its page is written again after this many seconds, or after this many
#: times the seconds that the writing took, whichever is longer.
_PAUSE, _SHARE = 1.0, 20
#: What can go wrong with a file: the disk, a damaged picture, one that no encoder can write.
_FAILURES = (*BROKEN, MemoryError)


class GridWriter:
    """Keeps a grid's files up to date while it is drawn: its plan, its page and its picture.

    A file that cannot be written costs itself alone; `problems` says why. The plan comes first,
    so that the grid can be gone on with whatever happens later.

    Args:
        folder: a folder for this grid only; it is made if needed.
        about: more text under the title, such as the program's version.
        checkpoints, votes_url: see `write_page`.
        form: see `write_plan`.

    Attributes:
        problems: why a file could not be written: the file's name -> the latest error.
    """

    def __init__(
        self,
        folder: Path,
        *,
        about: str = "",
        checkpoints: Mapping[str, Checkpoint] | None = None,
        votes_url: str = "",
        form: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        self.problems: dict[str, LycorisExtError] = {}
        self._about = about
        self._checkpoints = checkpoints
        self._votes_url = votes_url
        self._form = form
        self._next = 0.0

    def update(self, grid: Grid[StoredCell]) -> None:
        """Write plan and page, unless they were written a moment ago."""
        started = time.monotonic()
        if started < self._next:
            return
        self._write_plan_and_page(grid, running=True)
        now = time.monotonic()
        self._next = now + max(_PAUSE, _SHARE * (now - started))

    def finish(self, grid: Grid[StoredCell]) -> None:
        """Write plan, page and picture."""
        self._write_plan_and_page(grid, running=False)
        self._try(PICTURE, lambda: self._write_picture(grid))

    def _write_plan_and_page(self, grid: Grid[StoredCell], *, running: bool) -> None:
        self._try(PLAN, lambda: write_plan(self.folder, grid, self._form))
        self._try(PAGE, lambda: self._write_page(grid, running))

    def _write_page(self, grid: Grid[StoredCell], running: bool) -> None:
        write_page(
            self.folder,
            grid,
            about=self._about,
            checkpoints=self._checkpoints,
            votes_url=self._votes_url,
            running=running,
        )

    def _write_picture(self, grid: Grid[StoredCell]) -> None:
        picture = grid_picture(grid, title=grid.plan.title, about=self._about)
        save_picture(self.folder / PICTURE, picture, grid.parameters)

    def _try(self, name: str, write: Callable[[], object]) -> None:
        self.problems.pop(name, None)
        try:
            write()
        except LycorisExtError as error:
            self.problems[name] = error
        except _FAILURES as error:
            self.problems[name] = DataError(
                f"{name} was not written ({type(error).__name__}: {error})",
                where=str(self.folder),
                fix="the other files of the grid and its pictures are there; draw the grid again",
            )


def write_grid(
    folder: Path,
    grid: Grid[StoredCell],
    *,
    about: str = "",
    checkpoints: Mapping[str, Checkpoint] | None = None,
    votes_url: str = "",
) -> Path:
    """Write grid.json, grid.html with its folder "cells", and grid.png for a grid, complete or not.

    Args:
        folder: a folder for this grid only; it is made if needed.
        grid: the plan and the pictures drawn so far.
        about: more text under the title, such as the program's version.
        checkpoints, votes_url: see `write_page`.

    Returns:
        The path of grid.html.

    Raises:
        DataError: a picture is damaged or too large; the files without it are written.
        EnvironmentFault: the disk is full or the folder cannot be written.
    """
    writer = GridWriter(folder, about=about, checkpoints=checkpoints, votes_url=votes_url)
    writer.finish(grid)
    if writer.problems:
        raise together(list(writer.problems.values()))
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
    area = max((_pixels(kept) for line in table for kept in line if kept is not None), default=0)
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


def _pixels(kept: CellPicture) -> int:
    try:
        width, height = kept.size
    except _FAILURES:
        return 0  # `_shrunk` leaves it out
    return width * height


def _shrunk(kept: CellPicture | None, share: float) -> Image.Image | None:
    if kept is None:
        return None
    try:
        picture = kept.picture
    except _FAILURES:
        return None  # its file was deleted or damaged: the others are shown
    if kept.fault:
        picture = crossed_out(picture, "not as asked")
    if share < 1:
        size = (max(1, int(picture.width * share)), max(1, int(picture.height * share)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return picture
