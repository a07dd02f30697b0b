"""Draw pictures with adapters and write down the generation parameters of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from lycoris_ext.models import Pipeline
from lycoris_ext.sampling.adapters import AdapterUse, LoadedAdapter, adapters_applied
from lycoris_ext.sampling.infotext import infotext
from lycoris_ext.sampling.sample import Progress, sample_each
from lycoris_ext.sampling.specs import PromptSpec


@dataclass(frozen=True)
class Drawn:
    """A picture (RGB) and its generation parameters, as text in AUTOMATIC1111's form.

    Args:
        picture: the picture.
        parameters: the text.
        fault: why the picture shows nothing, with the adapters that it was drawn with; "" if it is
            sound.
    """

    picture: Image.Image
    parameters: str
    fault: str = ""


def draw(
    pipeline: Pipeline,
    specs: Sequence[PromptSpec],
    uses: Sequence[AdapterUse] = (),
    *,
    batch_size: int = 8,
    clip_skip: int | None = None,
    progress: Progress | None = None,
) -> list[Drawn]:
    """Draw one picture per spec, with all given adapters at once.

    Args:
        pipeline: the base model; afterwards its weights are bitwise as before.
        specs: prompt, seed, size and so on of each picture.
        uses: adapter files and their strengths; all of them act on every picture.
        batch_size, clip_skip, progress: see `sample_pictures`.

    Returns:
        The pictures with their generation parameters, in the order of `specs`; see `Drawn.fault`.

    Raises:
        DataError, FormatError: an adapter is missing, damaged, or for another model.
        ConfigError: a size does not fit the model.
    """
    with adapters_applied(pipeline, uses) as adapters:
        sampled = sample_each(pipeline, specs, batch_size, clip_skip, progress)
    return [
        Drawn(
            each.picture,
            infotext(
                spec,
                each.picture.size,
                model_name=pipeline.name,
                model_hash=pipeline.base_hash(),
                adapters=[adapter.info() for adapter in adapters],
                clip_skip=pipeline.clip_skip if clip_skip is None else clip_skip,
            ),
            each.fault and _told(each.fault, adapters),
        )
        for spec, each in zip(specs, sampled, strict=True)
    ]


def _told(fault: str, adapters: Sequence[LoadedAdapter]) -> str:
    """Say what became of a picture, with which adapters, and what is strange about these."""
    used = [f"{one.use.path.name} at strength {one.use.strength:g}" for one in adapters]
    strange = [f"{one.use.path.name}: {said}" for one in adapters for said in one.network.notices]
    return ". ".join([f"it {fault}, drawn with {', '.join(used) or 'no adapter'}", *strange])
