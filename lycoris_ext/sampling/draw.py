"""Pictures drawn with adapters, each with the text that tells how it came about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from lycoris_ext.models import Pipeline
from lycoris_ext.sampling.adapters import AdapterUse, adapters_applied
from lycoris_ext.sampling.infotext import infotext
from lycoris_ext.sampling.sample import Progress, sample_pictures
from lycoris_ext.sampling.specs import PromptSpec


@dataclass(frozen=True)
class Drawn:
    """A picture and the text that belongs under it."""

    picture: Image.Image
    parameters: str


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

    Args:
        pipeline: the base model; it is restored bitwise afterwards.
        specs: what to draw.
        uses: adapter files and their strengths, all of them in every picture.
        batch_size, clip_skip, progress: as for `sample_pictures`.

    Raises:
        DataError, FormatError: an adapter is not there, damaged, or for another model.
        ConfigError: a size does not fit the model.
    """
    with adapters_applied(pipeline, uses) as adapters:
        pictures = sample_pictures(pipeline, specs, batch_size, clip_skip, progress)
    return [
        Drawn(
            picture,
            infotext(
                spec,
                picture.size,
                model_name=pipeline.name,
                model_hash=pipeline.base_hash(),
                adapters=[adapter.info() for adapter in adapters],
                clip_skip=pipeline.clip_skip if clip_skip is None else clip_skip,
            ),
        )
        for spec, picture in zip(specs, pictures, strict=True)
    ]
