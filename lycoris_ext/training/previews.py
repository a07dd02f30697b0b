"""Pictures drawn during a run, with the adapter as it is at that moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lycoris_ext.data import TrainingSet
from lycoris_ext.models import Pipeline
from lycoris_ext.network import Network
from lycoris_ext.plots.png import save_picture
from lycoris_ext.runs.paths import RunPaths
from lycoris_ext.sampling import PromptSpec, infotext, read_prompts, sample_pictures
from lycoris_ext.training.config import TrainConfig

CAPTIONS_SHOWN = 4


def preview_specs(config: TrainConfig, training_set: TrainingSet) -> list[PromptSpec]:
    """The pictures a run draws; read before the first step, so that a mistake shows at once.

    Raises:
        ConfigError, DataError: a prompt or the file of prompts is wrong.
    """
    if not config.sample.wanted:
        return []
    prompts = read_prompts(config.sample.sample_prompts)
    if not prompts:
        first_lines = (
            picture.caption.split("\n")[0]
            for picture in training_set.pictures
            if not picture.is_reg
        )
        captions = list(dict.fromkeys(first_lines))
        shown = captions[:: max(1, len(captions) // CAPTIONS_SHOWN)][:CAPTIONS_SHOWN]
        prompts = [{"prompt": caption} for caption in shown]
    defaults = {"seed": config.run.seed, "sampler": config.sample.sample_sampler}
    return [PromptSpec(**{**defaults, **prompt}) for prompt in prompts]


def draw_previews(
    pipeline: Pipeline,
    network: Network,
    specs: Sequence[PromptSpec],
    config: TrainConfig,
    step: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Draw and save the pictures of one moment; the network must be injected.

    Args:
        pipeline, network: what draws.
        specs: what is drawn.
        config: where the pictures go.
        step: stands in the files' names.
        progress: called with (done, total) after every denoising step.

    Returns:
        The files' names.
    """
    paths = RunPaths.of(config.run)
    network.eval()
    try:
        pictures = sample_pictures(
            pipeline, specs, clip_skip=config.model.clip_skip, progress=progress
        )
    finally:
        network.train()
    names = []
    for number, (spec, picture) in enumerate(zip(specs, pictures, strict=True)):
        text = infotext(
            spec,
            picture.size,
            model_name=pipeline.name,
            model_hash=pipeline.base_hash(),
            clip_skip=config.model.clip_skip,
        )
        path = save_picture(paths.sample(step, number), picture, text)
        names.append(path.name)
    return names
