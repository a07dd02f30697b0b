"""Draw the cells of a grid with ComfyUI's samplers, on the connected model."""

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
    """The `Painter` of the Compare Grid node; it shows each picture on the node.

    If the user presses Cancel, ComfyUI's exception is raised between two denoising steps.

    Args:
        model, clip, vae: ComfyUI's.
        read: returns the adapter of an entrant; called when its first cell is about to be drawn.
    """

    def __init__(self, model: Any, clip: Any, vae: Any, read: Callable[[Entrant], Any]) -> None:
        self._model, self._clip, self._vae, self._read = model, clip, vae, read

    def decides(self, base_model: str) -> dict[str, str]:
        """Return nothing: no picture is used again in a later run of the node.

        A connected model says nothing by which it could be known again.
        """
        return {}

    def paint(self, cells: Sequence[Cell]) -> Generator[Painted, None, None]:
        """Draw the cells one by one, as `Painter.paint` says."""
        for cell in cells:
            cell.row.settings.refuse_extra(SCHEDULER)
        bar, done = Bar(sum(cell.row.settings.steps for cell in cells)), 0
        for column, group in groupby(cells, lambda cell: cell.column):
            model, clip = self._with(column)
            for cell in group:

                def step(now: int, total: int, before: int = done) -> None:
                    bar.at(before + now)

                row = cell.row
                painted = draw(
                    model, clip, self._vae, row.test.prompt, row.seed, _drawing(row), step
                )
                done += row.settings.steps
                bar.at(done, painted.picture)
                yield painted

    def _with(self, column: Column) -> tuple[Any, Any]:
        """Return model and text encoder with the adapter of a column applied."""
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
