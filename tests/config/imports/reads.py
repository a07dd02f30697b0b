"""What the tests of foreign configs share: write a file, read it, build a config."""

from __future__ import annotations

from pathlib import Path

import pytest

from lycoris_ext.config import OptionSource, Reading, TrainConfig, build_config, read_config
from lycoris_ext.errors import ConfigError

BASE = OptionSource("base", {"pretrained_model_name_or_path": "mini"})


def written(folder: Path, name: str, text: str) -> Path:
    """Write a file and return its path."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def built(path: Path, reading: Reading | None = None) -> TrainConfig:
    """Build the config of a file, with the small base if it names none."""
    source = read_config(path)
    named = source.values.get("pretrained_model_name_or_path")
    return build_config([source] if named else [source, BASE], reading)


def refusals(path: Path) -> list[str]:
    """Return the single errors of a file that is refused, as texts."""
    with pytest.raises(ConfigError) as caught:
        built(path)
    return [str(part) for part in caught.value.parts]


def skipped(path: Path) -> tuple[TrainConfig, Reading]:
    """Build the config of a file without what is not supported."""
    reading = Reading(skip_unsupported=True)
    return built(path, reading), reading
