"""Grids drawn by ComfyUI: each cell with its own sampler, on the connected model."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from itertools import groupby
from typing import Any

from lycoris_ext.grids.cells import Painted
from lycoris_ext.grids.entrants import Entrant
from lycoris_ext.grids.plan import Cell, Column, Row

from .drawing import Drawing, draw
from .patches import put_on
from .status import Bar

SCHEDULER = "scheduler"


class ComfyPainter:
    """A `Painter` that shows each picture on the node.

    Cancel raises ComfyUI's own exception between two denoising steps.

    Args:
        model, clip, vae: ComfyUI's.
        read: gives the adapter of an entrant; it is asked when the first cell with it is due.
    """

    def __init__(self, model: Any, clip: Any, vae: Any, read: Callable[[Entrant], Any]) -> None:
        self._model, self._clip, self._vae, self._read = model, clip, vae, read

    def decides(self, base_model: str) -> dict[str, str]:
        """See `Painter`. A connected model tells nothing that it could be known again by, so these
        pictures are good for one run of the node."""
        return {}

    def paint(self, cells: Sequence[Cell]) -> Generator[Painted, None, None]:
        """See `Painter`."""
        for cell in cells:
            cell.row.settings.refuse_extra(SCHEDULER)
        bar, done = Bar(sum(cell.row.settings.steps for cell in cells)), 0
        for column, group in groupby(cells, lambda cell: cell.column):
            model, clip = self._with(column)
            for cell in group:

                def step(now: int, total: int, before: int = done) -> None:
                    bar.at(before + now)

                row = cell.row
                picture = draw(
                    model, clip, self._vae, row.test.prompt, row.seed, _drawing(row), step
                )
                done += row.settings.steps
                bar.at(done, picture)
                yield Painted(picture)

    def _with(self, column: Column) -> tuple[Any, Any]:
        """Model and text encoder with a column's adapter."""
        if column.entrant is None:
            return self._model, self._clip
        strength, lora = column.strength, self._read(column.entrant)
        applied = put_on(self._model, self._clip, lora, strength.unet, strength.text_encoder)
        return applied.model, applied.clip


def _drawing(row: Row) -> Drawing:
    known = row.settings
    return Drawing(
        row.test.negative_prompt,
        known.steps,
        known.cfg_scale,
        known.sampler,
        str(dict(known.extra)[SCHEDULER]),
        known.width,
        known.height,
    )
