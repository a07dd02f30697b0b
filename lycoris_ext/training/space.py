"""Room on the disk for what a run writes, checked before the first step."""

from __future__ import annotations

import shutil

from lycoris_ext.errors import EnvironmentFault
from lycoris_ext.formats.atomic import nearest_folder
from lycoris_ext.network import Network
from lycoris_ext.runs.paths import RunPaths
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.precision import DTYPES
from lycoris_ext.words import file_size

_SMALL_FILES = 100_000
"""Bytes for options, events and headers."""


def check_space(network: Network, config: TrainConfig) -> None:
    """Check that the disk has room for the adapter and for the state of a run.

    The state is counted three times: the newest one, the one before, and one that is being written.
    Files of an earlier process, which will be replaced, count as room.

    Raises:
        EnvironmentFault: there is less room than that.
    """
    run, paths = config.run, RunPaths.of(config.run)
    numbers = network.parameter_count()
    averaged = 2 if run.ema_decay else 1
    adapter = averaged * numbers * DTYPES[run.save_precision].itemsize
    state = int(numbers * (4 * averaged + config.optimizer.kind.state_bytes))
    wanted = adapter + 3 * state + _SMALL_FILES
    replaced = (paths.adapter, paths.averaged(paths.adapter), *paths.states)
    there = sum(path.stat().st_size for path in replaced if path.is_file())
    place = nearest_folder(paths.folder)
    free = shutil.disk_usage(place).free + there
    if free < wanted:
        raise EnvironmentFault(
            f"{file_size(free)} are free, and this run writes {file_size(wanted)} (the adapter "
            f"{file_size(adapter)}, its state three times {file_size(state)})",
            where=str(paths.folder),
            fix="free some disk space, or choose another output_dir",
        )
