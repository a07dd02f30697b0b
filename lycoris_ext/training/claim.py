"""The lock on a run's files, and the checks whether an earlier run can be continued."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

from lycoris_ext.data import TrainingSet
from lycoris_ext.data.differences import differences
from lycoris_ext.data.manifest_file import read_manifest
from lycoris_ext.errors import ConfigError, DataError, FormatError
from lycoris_ext.files import expanded
from lycoris_ext.formats.atomic import make_folder, remove, remove_leftovers
from lycoris_ext.runs.lock import RunLock
from lycoris_ext.runs.paths import RunPaths
from lycoris_ext.runs.state import START_OVER, SavedState, load_newest
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.words import and_more

CHANGES_LISTED = 10
"""Number of pictures that changed which an error names; it only counts further ones."""


class Claim:
    """The right to write a run's files, and the state of an earlier run that is continued.

    To continue, torch's number of threads is set to what the run was started with, because the
    rounding of sums depends on it. `claimed` makes a claim and holds its lock.

    Args:
        config: of the run; output_dir and output_name say which run.
        lock: on the run's files; held as long as the claim is used.

    Attributes:
        paths: of the run's files.
        saved: the state of an earlier process, from which the run continues; None for a new run.

    Raises:
        ConfigError: the options have changed since the state was saved, or the run would replace
            an adapter from which it starts.
        DataError: there are adapters of this name, but no state to continue from.
    """

    def __init__(self, config: TrainConfig, lock: RunLock) -> None:
        self.config = config
        self.lock = lock
        self.paths = RunPaths.of(config.run)
        self.saved: SavedState | None = None
        if config.run.overwrite:
            self._keep_start()
            return
        self.saved = load_newest(self.paths.states)
        if self.saved is None:
            refuse_existing(self.paths)
            return
        changed = config.changed_since(self.saved.progress.config)
        if changed:
            listed = "; ".join(
                f"{name} was {old!r}, is {new!r}" for name, (old, new) in changed.items()
            )
            raise ConfigError(
                f"a run of this name stands at step {self.saved.progress.step} with other "
                f"options: {listed}",
                where=str(self.paths.state),
                fix=f"put them back to continue, {START_OVER}",
            )
        torch.set_num_threads(self.saved.progress.threads)

    def _keep_start(self) -> None:
        """Refuse to replace an adapter from which the run starts: it could not be continued."""
        start = self.config.start
        given = (start.network_weights, *start.base_weights)
        named = {expanded(path).resolve() for path in given if path}
        for path in self.paths.adapters():
            if path.resolve() in named:
                raise ConfigError(
                    "the run starts from this adapter, and would replace it",
                    where=str(path),
                    fix="choose another output_name",
                )

    def check_pictures(self, pictures: TrainingSet) -> None:
        """Refuse to continue a run on other pictures, or a run that is finished.

        Raises:
            DataError: pictures or captions have changed since the state was saved.
            ConfigError: the run has reached its number of steps already.
        """
        if self.saved is None:
            return
        progress = self.saved.progress
        if progress.dataset != pictures.fingerprint:
            listed = "".join(f"\n  {line}" for line in self._changes(pictures))
            raise DataError(
                f"pictures or captions changed since this run reached step {progress.step}"
                + (f":{listed}" if listed else ""),
                where=str(self.paths.state),
                fix=f"put them back to continue; to train on the new ones, {START_OVER}",
            )
        total = self.config.run.total_steps(pictures.epochs)
        if progress.step > total or (progress.finished and progress.step == total):
            raise ConfigError(
                f"this run is finished at step {progress.step}, and {total} are asked",
                where=str(self.paths.adapter),
                fix=f"raise max_train_steps to train longer, {START_OVER}",
            )

    def _changes(self, pictures: TrainingSet) -> list[str]:
        """Say what changed since the run began; nothing if its list of pictures is not there."""
        assert self.saved is not None
        with suppress(FormatError):
            before = read_manifest(self.paths.dataset)
            if before is not None and before.fingerprint == self.saved.progress.dataset:
                found = differences(before, pictures.manifest)
                return [*found.lines(CHANGES_LISTED), found.summary]
        return []

    def make_folder(self) -> None:
        """Create the run's folder, and delete temporary files of killed processes in it.

        Raises:
            EnvironmentFault: the folder cannot be created, or another process trains this run.
            DataError: another process has written a run of this name in the meantime.
        """
        folder = self.paths.folder
        make_folder(folder, "output_dir")
        self.lock.acquire()
        if self.saved is None and not self.config.run.overwrite:
            refuse_existing(self.paths)
        for pattern in self.paths.patterns:
            remove_leftovers(folder, pattern)

    def check_base(self, base: str, start: str) -> None:
        """Refuse to continue a run on another base model, or with other files to start from.

        Args:
            base: ``BaseModel.fingerprint`` of the base model.
            start: ``StartWeights.fingerprint`` of network_weights and base_weights.

        Raises:
            DataError: one of them differs from the saved state's.
        """
        if self.saved is None:
            return
        progress = self.saved.progress
        if progress.base != base:
            raise DataError(
                "the base model's weights are not those this run was started with",
                where=self.config.model.pretrained_model_name_or_path,
                fix=f"give the same base model to continue, or {START_OVER}",
            )
        if progress.start != start:
            raise DataError(
                "network_weights or base_weights are not those this run was started with",
                where=str(self.paths.state),
                fix=f"give the same files to continue, or {START_OVER}",
            )

    def clear_old_results(self) -> None:
        """Delete the state and all adapters of an older run of this name.

        Called when all checks have passed; without --overwrite there are none. Adapters of two runs
        under one name would be taken for those of one.
        """
        for path in (*self.paths.states, *self.paths.adapters()):
            remove(path)


@contextmanager
def claimed(config: TrainConfig) -> Iterator[Claim]:
    """Lock the files of a run for a ``with`` block, and check whether it can be continued.

    Raises:
        EnvironmentFault: another process trains this run.
        ConfigError, DataError: as `Claim`.
    """
    with RunLock(RunPaths.of(config.run).lock) as lock:
        yield Claim(config, lock)


def refuse_existing(paths: RunPaths) -> None:
    """Refuse to begin a run under the name of another one, whose files it would replace.

    Raises:
        DataError: there are adapters of this name, or a state.
    """
    there = [path.name for path in (*paths.adapters(), *paths.states) if path.exists()]
    if there:
        raise DataError(
            f"files of a run of this name exist already ({and_more(there)})"
            + ("" if paths.state.exists() else ", and no state from which it could go on"),
            where=str(paths.folder / paths.name),
            fix=START_OVER,
        )
