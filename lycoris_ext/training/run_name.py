"""Decide whether to use a finished run, to continue one, or to start one under a new name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from lycoris_ext.data import TrainingSet
from lycoris_ext.errors import ConfigError
from lycoris_ext.runs.paths import RunPaths
from lycoris_ext.runs.state import load_newest
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.identity import identity_in, run_identity

CONTINUE = "continue"
_OR_NEW, _NEW, _OVERWRITE = "continue or new", "new name", "overwrite"
MODES = (_OR_NEW, CONTINUE, _NEW, _OVERWRITE)
"""What to do if a run of the same name exists, see ``choose_name``."""


def keeps_name(mode: str) -> bool:
    """Return True if a mode never changes output_name: "continue" and "overwrite".

    Raises:
        ConfigError: there is no such mode.
    """
    if mode not in MODES:
        raise ConfigError(f"unknown mode {mode!r}", where="mode", fix=f"use one of {MODES}")
    return mode in (CONTINUE, _OVERWRITE)


def with_mode(config: TrainConfig, mode: str) -> TrainConfig:
    """Return the config for a mode: for "overwrite" with the option overwrite, else unchanged."""
    if mode != _OVERWRITE:
        return config
    return replace(config, run=replace(config.run, overwrite=True))


@dataclass(frozen=True)
class Chosen:
    """The name that a run gets.

    Args:
        config: with this name as output_name.
        is_finished: the very same run was finished under this name, and its adapter is there.
    """

    config: TrainConfig
    is_finished: bool = False


def choose_name(
    config: TrainConfig, mode: str, pictures: TrainingSet, base: str, start: str
) -> Chosen:
    """Choose the output_name to train under: NAME, or NAME-2, NAME-3, ...

    Args:
        config: its output_name is NAME.
        mode: "new name" always takes the first free name. "continue or new" takes the first name
            under which the same options, pictures and weights were trained to the end; else the
            last one under which they were stopped; else also the first free one.
        pictures: the training set.
        base: ``BaseModel.fingerprint`` of the base model.
        start: ``StartWeights.fingerprint`` of the adapters that training starts from.
    """
    *taken, free = _names(config)
    if mode == _NEW:
        return Chosen(free)
    for named in taken:
        if is_finished(named, pictures, base, start):
            return Chosen(named, is_finished=True)
    for named in reversed(taken):
        if _goes_on(named, pictures, base, start):
            return Chosen(named)
    return Chosen(free)


def is_finished(config: TrainConfig, pictures: TrainingSet, base: str, start: str) -> bool:
    """Return True if this very run, with these options, pictures and weights, has its adapter."""
    identity = run_identity(config, pictures, base, start)
    return identity_in(RunPaths.of(config.run).adapter) == identity


def _names(config: TrainConfig) -> Iterator[TrainConfig]:
    """Return the config with each name that is in use, and at last with the first free one."""
    named, number = config, 1
    while _is_used(RunPaths.of(named.run)):
        yield named
        number += 1
        name = f"{config.run.output_name}-{number}"
        named = replace(config, run=replace(config.run, output_name=name))
    yield named


def _is_used(paths: RunPaths) -> bool:
    return any(path.exists() for path in paths.states) or bool(paths.adapters())


def _goes_on(config: TrainConfig, pictures: TrainingSet, base: str, start: str) -> bool:
    saved = load_newest(RunPaths.of(config.run).states)
    if saved is None or saved.progress.finished:
        return False
    progress = saved.progress
    return (
        not config.changed_since(progress.config)
        and progress.dataset == pictures.fingerprint
        and progress.base == base
        and progress.start == start
        and progress.step <= config.run.total_steps(pictures.epochs)
    )
