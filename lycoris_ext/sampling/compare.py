"""The same prompts and seeds without adapters and with each of them: the columns of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image

from lycoris_ext.models import Pipeline
from lycoris_ext.sampling.adapters import AdapterUse, LoadedAdapter, adapters_applied
from lycoris_ext.sampling.infotext import infotext
from lycoris_ext.sampling.sample import Progress, sample_pictures
from lycoris_ext.sampling.specs import PromptSpec

BARE = "without adapter"


@dataclass(frozen=True)
class Column:
    """A heading, and the adapters that its pictures are drawn with."""

    label: str
    uses: tuple[AdapterUse, ...] = ()


@dataclass(frozen=True)
class Drawn:
    """A picture and the text that belongs under it."""

    picture: Image.Image
    parameters: str


def adapter_columns(uses: Sequence[AdapterUse], strengths: Sequence[float] = ()) -> list[Column]:
    """Make the columns of a grid: no adapter first, then every adapter alone at every strength.

    Args:
        uses: the adapters.
        strengths: in place of each adapter's own strength, if any are given.
    """
    columns = [Column(BARE)]
    for use in uses:
        for strength in strengths or (use.strength,):
            name = use.name if len(uses) > 1 else "strength"
            columns.append(Column(f"{name} {strength:g}", (replace(use, strength=strength),)))
    return columns


def draw(
    pipeline: Pipeline,
    specs: Sequence[PromptSpec],
    uses: Sequence[AdapterUse] = (),
    *,
    batch_size: int = 8,
    clip_skip: int | None = None,
    progress: Progress | None = None,
) -> list[Drawn]:
    """Draw one picture a spec with these adapters, each with its text.

    Raises:
        DataError, FormatError: an adapter is not there, damaged, or for another model.
        ConfigError: a size does not fit the model.
    """
    with adapters_applied(pipeline, uses) as adapters:
        pictures = sample_pictures(pipeline, specs, batch_size, clip_skip, progress)
    return [
        Drawn(picture, describe(pipeline, spec, picture, adapters, clip_skip))
        for spec, picture in zip(specs, pictures, strict=True)
    ]


def draw_columns(
    pipeline: Pipeline,
    specs: Sequence[PromptSpec],
    columns: Sequence[Column],
    *,
    batch_size: int = 8,
    clip_skip: int | None = None,
    progress: Progress | None = None,
) -> list[list[Drawn]]:
    """Draw every spec once a column; the same noise all along a row.

    Returns:
        One row a spec, one picture a column: the cells of `comparison_grid`.
    """
    drawn = []
    for index, column in enumerate(columns):

        def overall(done: int, total: int, before: int = index) -> None:
            if progress is not None:
                progress(before * total + done, len(columns) * total)

        drawn.append(
            draw(
                pipeline,
                specs,
                column.uses,
                batch_size=batch_size,
                clip_skip=clip_skip,
                progress=overall,
            )
        )
    return [list(row) for row in zip(*drawn, strict=True)]


def describe(
    pipeline: Pipeline,
    spec: PromptSpec,
    picture: Image.Image,
    adapters: Sequence[LoadedAdapter] = (),
    clip_skip: int | None = None,
) -> str:
    """Write the text under a picture that this pipeline drew."""
    return infotext(
        spec,
        picture.size,
        model_name=pipeline.name,
        model_hash=pipeline.base_hash(),
        adapters=[adapter.info() for adapter in adapters],
        clip_skip=pipeline.clip_skip if clip_skip is None else clip_skip,
    )
