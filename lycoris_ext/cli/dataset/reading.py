"""Make a config of the folder or the config that a command names."""

from __future__ import annotations

from pathlib import Path

from lycoris_ext.config import OptionSource, TrainConfig, build_config, read_config
from lycoris_ext.data.folders import options_for_deep


def data_config(place: Path) -> TrainConfig:
    """Return the config that a file holds, or one for a folder of pictures.

    Raises:
        ConfigError: the config is wrong.
        DataError: the folder cannot be read, or holds no pictures.
    """
    if place.is_dir():
        return build_config([OptionSource(str(place), options_for_deep(place))])
    return build_config([read_config(place)])
