"""Draw grids with this project's pipeline, for `lycoris-ext sample --grid` and the demo."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import groupby

import torch

from lycoris_ext import __version__
from lycoris_ext.errors import ConfigError
from lycoris_ext.formats.hashes import sha256_of_files
from lycoris_ext.grids.cells import Painted
from lycoris_ext.grids.entrants import Entrant, Strength, with_unique_names
from lycoris_ext.grids.plan import Cell, Column, Row
from lycoris_ext.grids.prompt_tests import PromptTest
from lycoris_ext.grids.settings import Settings
from lycoris_ext.models import Pipeline
from lycoris_ext.sampling.adapters import AdapterUse, refuse_missing
from lycoris_ext.sampling.draw import draw
from lycoris_ext.sampling.sample import Progress, sampling_calls
from lycoris_ext.sampling.specs import PromptSpec


class PipelinePainter:
    """The `Painter` that draws cells with a `Pipeline`, all cells of one adapter in batches.

    Args:
        pipeline: the base model.
        batch_size: how many pictures are denoised at once; it does not change the pictures.
        progress: called with (done, total) after every denoising step, counted over all cells.
    """

    def __init__(
        self, pipeline: Pipeline, batch_size: int = 8, progress: Progress | None = None
    ) -> None:
        self._pipeline = pipeline
        self._batch_size = batch_size
        self._progress = progress

    def decides(self, base_model: str) -> dict[str, str]:
        """Return what decides a picture besides its cell, as part of its key in a cache.

        Args:
            base_model: not read: a pipeline holds one model alone.
        """
        pipeline = self._pipeline
        return {
            "program": f"lycoris-ext {__version__}, torch {torch.__version__}",
            "base": pipeline.base_hash(),
            "device": f"{pipeline.device.type} {pipeline.dtype}",
        }

    def paint(self, cells: Sequence[Cell]) -> Generator[Painted, None, None]:
        """Draw the cells, as `Painter.paint` says.

        Raises:
            ConfigError: a cell asks for something that this pipeline cannot do; this is checked
                for all cells before the first is drawn.
            DataError, FormatError: an adapter is missing, damaged, or for another model.
        """
        for cell in cells:
            self._check(cell)
        total = sampling_calls(self._pipeline, [_spec_of(cell.row) for cell in cells])
        done = 0
        for (column, clip_skip), group in groupby(
            cells, lambda cell: (cell.column, cell.row.settings.clip_skip)
        ):
            specs = [_spec_of(cell.row) for cell in group]
            drawn = draw(
                self._pipeline,
                specs,
                _uses_of(column),
                batch_size=self._batch_size,
                clip_skip=clip_skip,
                progress=self._from(done, total),
            )
            done += sampling_calls(self._pipeline, specs)
            yield from (Painted(each.picture, each.parameters, each.fault) for each in drawn)

    def _from(self, before: int, total: int) -> Progress | None:
        """Turn the progress callback over all cells into one for a column after `before` calls."""
        report = self._progress
        return None if report is None else lambda done, _: report(before + done, total)

    def _check(self, cell: Cell) -> None:
        row, strength = cell.row, cell.column.strength
        _uses_of(cell.column)
        row.settings.refuse_extra()
        if row.base_model not in ("", self._pipeline.name):
            raise ConfigError(
                f"the base model is {self._pipeline.name}, and a row wants {row.base_model}",
                where="base models",
                fix="draw a grid for each base model",
            )
        if strength.text_encoder != strength.unet:
            raise ConfigError(
                f"text encoder and U-Net have the strengths {strength}, and this pipeline has one "
                "strength for both",
                where="strengths",
                fix="use one number, such as 0.8",
            )


def row_of(spec: PromptSpec, pipeline: Pipeline) -> Row:
    """Turn one picture's spec into a grid's row, with the pipeline's size where it has none."""
    side = pipeline.picture_size
    settings = Settings(
        spec.steps,
        spec.cfg_scale,
        spec.width or side,
        spec.height or side,
        spec.sampler,
        pipeline.clip_skip,
    )
    test = PromptTest(spec.prompt, negative_prompt=spec.negative_prompt)
    return Row(test, spec.seed, pipeline.name, settings)


def columns_of(uses: Sequence[AdapterUse], strengths: Sequence[float] = ()) -> tuple[Column, ...]:
    """Return a grid's columns: first one without adapter, then each adapter at each strength.

    Args:
        uses: the adapter files, each with a strength.
        strengths: strengths for all adapters, in place of their own; empty keeps their own.

    Raises:
        DataError: a file does not exist; the message names all such files.
    """
    refuse_missing(uses)
    known = [Entrant(use.name, sha256_of_files(use.path), use.path) for use in uses]
    named = dict(zip(dict.fromkeys(known), with_unique_names(known), strict=True))
    columns = [
        Column(named[entrant], Strength(strength, strength))
        for use, entrant in zip(uses, known, strict=True)
        for strength in strengths or (use.strength,)
    ]
    return tuple(dict.fromkeys([Column(), *columns]))


def _spec_of(row: Row) -> PromptSpec:
    known = row.settings
    return PromptSpec(
        row.test.prompt,
        row.test.negative_prompt,
        row.seed,
        known.steps,
        known.cfg_scale,
        known.width,
        known.height,
        known.sampler,
    )


def _uses_of(column: Column) -> tuple[AdapterUse, ...]:
    if column.entrant is None:
        return ()
    return (AdapterUse(column.entrant.file, column.strength.unet),)
