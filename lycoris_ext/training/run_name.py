"""Which run a name means, where one may be stopped and others finished."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lycoris_ext.data import TrainingSet
from lycoris_ext.errors import ConfigError
from lycoris_ext.runs.paths import RunPaths
from lycoris_ext.runs.state import load_state
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.start import start_fingerprint

MODES = ("continue or new", "continue", "new name", "overwrite")
"""What to do about a run of the same name, see `choose_name`."""


def choose_name(
    config: TrainConfig, pictures: TrainingSet, fingerprint: str, mode: str
) -> TrainConfig:
    """Decide which run of a name this is: NAME, or NAME-2 and so on.

    "continue or new" goes on with the latest of them where that is not finished and was started
    with these options, files, pictures and base, and otherwise takes the next free name; "new name"
    always does the latter; "continue" and "overwrite" keep the name.

    Raises:
        ConfigError: there is no such mode.
        DataError, FormatError: a file to start from is not there, or damaged.
    """
    if mode not in MODES:
        raise ConfigError(f"unknown mode {mode!r}", where="mode", fix=f"use one of {MODES}")
    if mode == "overwrite":
        return replace(config, run=replace(config.run, overwrite=True))
    if mode == "continue":
        return config
    latest, number = None, 1
    named = config
    while any(path.exists() for path in _results(named)):
        latest, number = named, number + 1
        name = f"{config.run.output_name}-{number}"
        named = replace(config, run=replace(config.run, output_name=name))
    if latest is None or mode == "new name":
        return named
    return latest if _goes_on(latest, pictures, fingerprint) else named


def _results(config: TrainConfig) -> tuple[Path, ...]:
    paths = RunPaths.of(config.run)
    return paths.adapter, paths.averaged(paths.adapter), paths.state


def _goes_on(config: TrainConfig, pictures: TrainingSet, fingerprint: str) -> bool:
    saved = load_state(RunPaths.of(config.run).state)
    if saved is None or saved.progress.finished:
        return False
    progress = saved.progress
    return (
        not config.changed_since(progress.config)
        and progress.dataset == pictures.fingerprint
        and progress.base == fingerprint
        and progress.start == start_fingerprint(config.start)
        and progress.step <= config.run.total_steps(pictures.batches_per_epoch)
    )
