"""What our own pipeline draws during a run."""

from __future__ import annotations

from collections.abc import Sequence

from lycoris_ext.data import TrainingSet
from lycoris_ext.sampling.prompts import Fields, read_prompts
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
    captions = [{"prompt": caption} for caption in caption_prompts(pictures)]
    return asked_specs(config) or _specs(config, captions)


def asked_specs(config: TrainConfig) -> list[PromptSpec]:
    """Return what sample_prompts asks to draw during a run; nothing if no interval is set.

    Raises:
        ConfigError, DataError: a prompt or the file of prompts is wrong.
    """
    asked = config.sample.sample_prompts if config.sample.wanted else ()
    return _specs(config, read_prompts(asked))


def _specs(config: TrainConfig, prompts: Sequence[Fields]) -> list[PromptSpec]:
    defaults = {"seed": config.run.seed, "sampler": config.sample.sample_sampler}
    return [PromptSpec(**{**defaults, **prompt}) for prompt in prompts]
