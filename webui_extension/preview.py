"""Choose the picture for an adapter's card: the cell that was voted for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lycoris_ext.grids.cells import StoredCell
from lycoris_ext.grids.draw import Grid
from lycoris_ext.grids.plan import Cell
from lycoris_ext.grids.votes import Vote, telling_labels


@dataclass(frozen=True)
class Preview:
    """A picture of an adapter.

    Args:
        path: the picture's file; None if there is none to show.
        why: a sentence that says which picture it is, or why there is none.
    """

    path: Path | None
    why: str


def choose(
    grids: Iterable[tuple[Grid[StoredCell], Sequence[Vote]]], digest: str, strength: float
) -> Preview:
    """Choose a picture of an adapter.

    The picture of the latest vote in the newest grid with a vote comes first. Without votes it is
    the first picture of the newest grid, at the strength nearest to the preferred one.

    Args:
        grids: grids with the votes for their cells, the newest grid first.
        digest: SHA-256 of the adapter's file.
        strength: the preferred strength.
    """
    right: list[StoredCell] = []
    faults: list[str] = []
    for grid, votes in grids:
        cells = [
            (cell, stored)
            for cell, stored in grid.cells.items()
            if cell.column.entrant is not None and cell.column.entrant.hash == digest
        ]
        faults += [stored.fault for _, stored in cells if stored.fault]
        whole = [(cell, stored) for cell, stored in cells if not stored.fault]
        places = {vote: place for place, vote in enumerate(votes)}
        id, labels = grid.plan.id, telling_labels(grid.plan)
        voted = [
            (places[vote], stored.path)
            for cell, stored in whole
            if (vote := Vote.of(id, cell, labels[cell.row])) in places
        ]
        if voted:
            return Preview(max(voted)[1], "The preview is the picture that was voted for.")
        if not right:
            right = [
                stored for _, stored in sorted(whole, key=lambda each: _far(each[0], strength))
            ]
    if right:
        return Preview(right[0].path, "The preview is the first picture: none was voted for.")
    if faults:
        return Preview(None, f"There is no preview: all its pictures are faulty ({faults[0]}).")
    return Preview(None, "There is no preview: no grid shows this adapter.")


def _far(cell: Cell, strength: float) -> float:
    return abs(cell.column.strength.unet - strength)
