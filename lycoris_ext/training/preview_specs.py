"""What our own pipeline draws during a run."""

from __future__ import annotations

from lycoris_ext.data import TrainingSet
from lycoris_ext.sampling.prompts import read_prompts
from lycoris_ext.sampling.specs import PromptSpec
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.preview_prompts import caption_prompts


def preview_specs(config: TrainConfig, pictures: TrainingSet) -> list[PromptSpec]:
    """Return what to draw during a run; called before the first step, so that faults show early.

    Args:
        config: of the run; its sample_prompts are read.
        pictures: the training set, whose captions are used if there are no sample_prompts.

    Raises:
        ConfigError, DataError: a prompt or the file of prompts is wrong.
    """
    if not config.sample.wanted:
        return []
    prompts = read_prompts(config.sample.sample_prompts)
    if not prompts:
        prompts = [{"prompt": caption} for caption in caption_prompts(pictures)]
    defaults = {"seed": config.run.seed, "sampler": config.sample.sample_sampler}
    return [PromptSpec(**{**defaults, **prompt}) for prompt in prompts]
