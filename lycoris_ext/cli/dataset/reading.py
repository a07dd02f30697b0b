"""Make a config of the folder or the config that a command names."""

from __future__ import annotations

from pathlib import Path

from lycoris_ext.config import OptionSource, TrainConfig, build_config, read_config
from lycoris_ext.data import TokenLimit
from lycoris_ext.data.folders import options_for_deep
from lycoris_ext.training.token_limit import clip_token_limit, token_limit


def data_config(place: Path) -> TrainConfig:
    """Return the config that a file holds, or one for a folder of pictures.

    Raises:
        ConfigError: the config is wrong.
        DataError: the folder cannot be read, or holds no pictures.
    """
    if place.is_dir():
        return build_config([OptionSource(str(place), options_for_deep(place))])
    return build_config([read_config(place)])


def caption_limit(place: Path, config: TrainConfig) -> TokenLimit | None:
    """Return how many tokens of a caption are read: by the config's base model, or by CLIP."""
    return clip_token_limit(config.model) if place.is_dir() else token_limit(config.model)
