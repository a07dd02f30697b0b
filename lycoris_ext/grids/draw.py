"""Draw a grid: take the pictures that are cached and let a painter draw the others."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol

from lycoris_ext.grids.cells import AnyPicture, Painted, Store
from lycoris_ext.grids.plan import Cell, GridPlan
from lycoris_ext.words import count, duration

_CHANGED = "the model or a setting was changed while this picture was drawn"


class Painter(Protocol):
    """A program with a model that can draw the cells of a grid."""

    def decides(self, base_model: str) -> dict[str, str]:
        """Return everything but the cell that decides a picture: program, base model's hash, ...

        It becomes part of the key under which the picture is cached.

        Args:
            base_model: the row's base model; "" is the loaded one.
        """

    def paint(self, cells: Sequence[Cell]) -> Generator[Painted, None, None]:
        """Draw cells and check that each picture shows what its cell asks for.

        Args:
            cells: all cells that are not cached. Cells of one adapter are neighbours, so that a
                painter can draw them as a batch.

        Yields:
            One picture per cell, in the same order. The painter yields fewer if the user
            interrupts it, and the caller may close the generator after any picture.
        """


@dataclass(frozen=True)
class GridProgress:
    """How far the drawing of a grid has come.

    Args:
        done, total: number of cells that are done, and of all cells.
        painted: how many of the done cells were drawn now, not taken from the cache.
        seconds_left: estimate from the cells drawn now; None if none was drawn yet.
        now: the adapter and prompt of the last cell.
    """

    done: int
    total: int
    painted: int
    seconds_left: float | None
    now: str = ""

    def __str__(self) -> str:
        text = f"{self.done} of {count(self.total, 'picture')}"
        if self.done > self.painted:
            text += f", {self.done - self.painted} of them drawn earlier"
        if self.seconds_left is not None and self.done < self.total:
            text += f", {duration(self.seconds_left)} left"
        return f"{text} ({self.now})" if self.now else text


@dataclass
class Grid(Generic[AnyPicture]):
    """A plan with the pictures that are drawn so far."""

    plan: GridPlan
    cells: dict[Cell, AnyPicture] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether all pictures are drawn."""
        return len(self.cells) == self.plan.size

    @property
    def faults(self) -> list[str]:
        """One sentence per fault and adapter, such as "name, 2 pictures: what is wrong"."""
        counts = Counter(
            (cell.column.adapter, kept.fault) for cell, kept in self.cells.items() if kept.fault
        )
        return [
            f"{name}, {count(number, 'picture')}: {fault}"
            for (name, fault), number in counts.items()
        ]

    @property
    def parameters(self) -> str:
        """The generation parameters to embed in the grid's PNG.

        They are those of the first picture with an adapter, or else of the first picture.
        """
        drawn = [cell for cell in self.plan.cells() if cell in self.cells]
        adapted = [cell for cell in drawn if cell.column.entrant is not None]
        return self.cells[(adapted or drawn)[0]].parameters if drawn else ""

    def table(self) -> list[list[AnyPicture | None]]:
        """Return the pictures as rows, with None for cells that are not drawn yet."""
        return [
            [self.cells.get(Cell(row, column)) for column in self.plan.columns]
            for row in self.plan.rows
        ]


def draw_grid(
    plan: GridPlan,
    painter: Painter,
    store: Store[AnyPicture],
    *,
    progress: Callable[[GridProgress, Grid[AnyPicture]], None] = lambda *_: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Grid[AnyPicture]:
    """Draw the cells of a plan that are not in the store yet.

    If it is stopped early, the finished pictures are in the store, and the next call continues.

    Args:
        plan: what the grid shows.
        painter: draws the pictures.
        store: the cache of pictures.
        progress: called at the start and after every drawn cell.
        stopped: called before every cell; True ends the drawing.

    Returns:
        The plan with all pictures that were found or drawn.
    """
    grid: Grid[AnyPicture] = Grid(plan)
    decides = {model: painter.decides(model) for model in plan.base_models}
    missing: dict[str, list[Cell]] = {}
    for cell in plan.cells():
        key = cell.key(decides[cell.row.base_model])
        found = store.find(key)
        if found is None:
            missing.setdefault(key, []).append(cell)  # equal if two rows differ only in labels
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
                # The model or a setting was changed meanwhile, so the picture does not match its
                # key: show it, but never take it from the cache.
                result = replace(result, fault=result.fault or _CHANGED)
            grid.cells |= dict.fromkeys(same, store.keep(key, result))
            left = (plan.size - len(grid.cells)) * (time.monotonic() - started) / painted
            now = f"{same[0].column.adapter}, {same[0].row.test.title}"
            progress(GridProgress(len(grid.cells), plan.size, painted, left, now), grid)
    return grid
