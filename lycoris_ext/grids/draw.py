"""Drawing a grid, cell by cell: what is there is taken, what is missing is painted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from lycoris_ext.grids.cells import CellStore, Painted, StoredCell
from lycoris_ext.grids.plan import Cell, GridPlan

_CHANGED = "a setting that decides pictures was changed while the grid was drawn"


class Painter(Protocol):
    """A program with a model that can draw one cell."""

    def decides(self, base_model: str) -> dict[str, str]:
        """All that decides a picture besides the cell: program, version, base model's hash."""

    def paint(self, cell: Cell) -> Painted | None:
        """Draw a cell and check it; None where it was interrupted on the way."""


@dataclass(frozen=True)
class GridProgress:
    """How far a grid is.

    Args:
        done, total: cells.
        painted: of those done, the ones that were not there before.
        seconds_left: by the pace of those painted; None until there is one.
        now: what was done last, in words.
    """

    done: int
    total: int
    painted: int
    seconds_left: float | None
    now: str = ""

    def __str__(self) -> str:
        text = f"{self.done} of {self.total} pictures"
        if self.done > self.painted:
            text += f", {self.done - self.painted} of them there already"
        if self.seconds_left is not None and self.done < self.total:
            text += f", {_duration(self.seconds_left)} left"
        return f"{text} ({self.now})" if self.now else text


@dataclass
class Grid:
    """A plan and the pictures that are there."""

    plan: GridPlan
    cells: dict[Cell, StoredCell] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return len(self.cells) == len(self.plan.rows) * len(self.plan.columns)

    @property
    def faults(self) -> list[str]:
        """What is wrong and with how many cells of which column, in words."""
        counts = Counter(
            (cell.column.adapter, stored.fault)
            for cell, stored in self.cells.items()
            if stored.fault
        )
        return [
            f"{name}, {count} {'picture' if count == 1 else 'pictures'}: {fault}"
            for (name, fault), count in counts.items()
        ]

    def table(self) -> list[list[StoredCell | None]]:
        """Rows of cells, None where none is there yet."""
        return [
            [self.cells.get(Cell(row, column, self.plan.settings)) for column in self.plan.columns]
            for row in self.plan.rows
        ]


def draw_grid(
    plan: GridPlan,
    painter: Painter,
    store: CellStore,
    *,
    progress: Callable[[GridProgress, Grid], None] = lambda *_: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Grid:
    """Paint what is missing; what is done stays done, whenever it is stopped.

    Args:
        plan: what to show.
        painter: who draws.
        store: where pictures are kept.
        progress: called after every cell.
        stopped: asked before every cell.
    """
    grid = Grid(plan)
    cells = list(plan.cells())
    decides: dict[str, dict[str, str]] = {}
    missing: dict[str, list[Cell]] = {}
    for cell in cells:
        model = cell.row.base_model
        if model not in decides:
            decides[model] = painter.decides(model)
        key = cell.key(decides[model])
        found = store.find(key)
        if found is None:
            missing.setdefault(key, []).append(cell)  # two rows may differ in their labels alone
        else:
            grid.cells[cell] = found
    progress(GridProgress(len(grid.cells), len(cells), 0, None), grid)
    started = time.monotonic()
    for painted, (key, (cell, *same)) in enumerate(missing.items(), start=1):
        if stopped():
            break
        result = painter.paint(cell)
        if result is None:
            break
        if painter.decides(cell.row.base_model) != decides[cell.row.base_model]:
            # Its key does not say what it was drawn with.
            result = replace(result, fault=result.fault or _CHANGED)
        grid.cells |= dict.fromkeys([cell, *same], store.keep(key, result))
        left = (len(cells) - len(grid.cells)) * (time.monotonic() - started) / painted
        now = f"{cell.column.adapter}, {cell.row.test.title}"
        progress(GridProgress(len(grid.cells), len(cells), painted, left, now), grid)
    return grid


def _duration(seconds: float) -> str:
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
