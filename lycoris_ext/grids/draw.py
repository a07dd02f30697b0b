"""Drawing a grid: the pictures that are there are taken, those that are missing are painted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol

from lycoris_ext.grids.cells import KeptCell, Painted, Store
from lycoris_ext.grids.plan import Cell, GridPlan
from lycoris_ext.words import count, duration

_CHANGED = "a setting that decides pictures was changed while the grid was drawn"


class Painter(Protocol):
    """A program with a model that can draw the cells of a grid."""

    def decides(self, base_model: str) -> dict[str, str]:
        """All that decides a picture besides the cell: program, version, base model's hash."""

    def paint(self, cells: Sequence[Cell]) -> Generator[Painted, None, None]:
        """Draw cells and check them.

        It is handed all that are missing, those of one adapter together, so that it may draw
        several at once. It may be closed after any of them.

        Yields:
            A picture a cell, in their order; fewer where it was interrupted.
        """


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
            text += f", {duration(self.seconds_left)} left"
        return f"{text} ({self.now})" if self.now else text


@dataclass
class Grid(Generic[KeptCell]):
    """A plan and the pictures that are there."""

    plan: GridPlan
    cells: dict[Cell, KeptCell] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return len(self.cells) == self.plan.size

    @property
    def faults(self) -> list[str]:
        """What is wrong and with how many cells of which column, in words."""
        counts = Counter(
            (cell.column.adapter, kept.fault) for cell, kept in self.cells.items() if kept.fault
        )
        return [
            f"{name}, {count(number, 'picture')}: {fault}"
            for (name, fault), number in counts.items()
        ]

    @property
    def parameters(self) -> str:
        """The text of the first picture with an adapter, else of the first: for a grid's PNG."""
        drawn = [cell for cell in self.plan.cells() if cell in self.cells]
        adapted = [cell for cell in drawn if cell.column.entrant is not None]
        return self.cells[(adapted or drawn)[0]].parameters if drawn else ""

    def table(self) -> list[list[KeptCell | None]]:
        """Rows of cells, None where none is there yet."""
        return [
            [self.cells.get(Cell(row, column)) for column in self.plan.columns]
            for row in self.plan.rows
        ]


def draw_grid(
    plan: GridPlan,
    painter: Painter,
    store: Store[KeptCell],
    *,
    progress: Callable[[GridProgress, Grid[KeptCell]], None] = lambda *_: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Grid[KeptCell]:
    """Paint what is missing; what is done stays done, whenever it is stopped.

    Args:
        plan: what to show.
        painter: who draws.
        store: where pictures are kept.
        progress: called after every cell.
        stopped: asked before every cell.
    """
    grid: Grid[KeptCell] = Grid(plan)
    decides = {model: painter.decides(model) for model in plan.base_models}
    missing: dict[str, list[Cell]] = {}
    for cell in plan.cells():
        key = cell.key(decides[cell.row.base_model])
        found = store.find(key)
        if found is None:
            missing.setdefault(key, []).append(cell)  # two rows may differ in their labels alone
        else:
            grid.cells[cell] = found
    progress(GridProgress(len(grid.cells), plan.size, 0, None), grid)
    started = time.monotonic()
    with closing(painter.paint([same[0] for same in missing.values()])) as pictures:
        for painted, (key, same) in enumerate(missing.items(), start=1):
            result = None if stopped() else next(pictures, None)
            if result is None:
                break
            model = same[0].row.base_model
            if painter.decides(model) != decides[model]:
                # The user changed the model or a setting meanwhile: the key does not say so.
                result = replace(result, fault=result.fault or _CHANGED)
            grid.cells |= dict.fromkeys(same, store.keep(key, result))
            left = (plan.size - len(grid.cells)) * (time.monotonic() - started) / painted
            now = f"{same[0].column.adapter}, {same[0].row.test.title}"
            progress(GridProgress(len(grid.cells), plan.size, painted, left, now), grid)
    return grid
