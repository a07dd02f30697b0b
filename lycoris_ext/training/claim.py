"""The right to write a run's files, and what an earlier process left in them."""

from __future__ import annotations

from types import TracebackType

import torch

from lycoris_ext.data import TrainingSet
from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.formats.atomic import make_folder, remove_leftovers
from lycoris_ext.runs.lock import RunLock
from lycoris_ext.runs.paths import RunPaths
from lycoris_ext.runs.state import SavedState, load_state
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.precision import check_precision, choose_device

START_OVER = "choose another output_name, or start over with --overwrite"


class Claim:
    """A run's files, locked inside the ``with``.

    Args:
        config: resolved options.

    Attributes:
        paths: of the files.
        device: where the run computes.
        saved: the state that it is continued from; None for a new run.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.paths = RunPaths.of(config.run)
        self.lock = RunLock(self.paths.lock)
        self.saved: SavedState | None = None

    def __enter__(self) -> Claim:
        """Lock the files, and find out whether the run is new or to be continued.

        Continuing sets torch's number of threads to what the run was started with: sums are split
        by threads, so their rounding depends on it.

        Raises:
            ConfigError: the options changed since the state was written, or fp16 without a GPU.
            DataError: there is a result of that name but no state.
            EnvironmentFault: the device is not there, or another process is training.
        """
        self.lock.__enter__()
        try:
            self._open()
        except BaseException:
            self.lock.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.lock.release()

    def _open(self) -> None:
        run = self.config.run
        self.device = choose_device(run.device)
        check_precision(run.mixed_precision, self.device)
        if run.overwrite:
            return
        self.saved = load_state(self.paths.state)
        if self.saved is None:
            refuse_existing(self.paths)
            return
        changed = self.config.changed_since(self.saved.progress.config)
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

    def check_pictures(self, pictures: TrainingSet) -> None:
        """Refuse to continue on other pictures, or to train a finished run again.

        Raises:
            DataError: pictures or captions changed since the state was written.
            ConfigError: the run has its full length already.
        """
        if self.saved is None:
            return
        progress = self.saved.progress
        if progress.dataset != pictures.fingerprint:
            raise DataError(
                f"pictures or captions changed since this run reached step {progress.step}",
                where=str(self.paths.state),
                fix=f"put them back to continue; to train on the new ones, {START_OVER}",
            )
        total = self.config.run.total_steps(pictures.batches_per_epoch)
        if progress.step > total or (progress.finished and progress.step == total):
            raise ConfigError(
                f"this run is finished at step {progress.step}, and {total} are asked",
                where=str(self.paths.adapter),
                fix=f"raise max_train_steps to train longer, {START_OVER}",
            )

    def make_folder(self) -> None:
        """Make the run's folder, and clear it of what killed writers left.

        Raises:
            EnvironmentFault: it cannot be made, or another process is training under this name.
            DataError: another process did so while this one read its pictures.
        """
        folder = self.paths.folder
        make_folder(folder, "choose another output_dir")
        self.lock.acquire()
        if self.saved is None and not self.config.run.overwrite:
            refuse_existing(self.paths)
        for name in self.paths.all_names:
            remove_leftovers(folder, name)

    def check_base(self, base: str, start: str) -> None:
        """Refuse to continue on another base model, or from other adapters.

        Args:
            base: ``BaseModel.fingerprint``.
            start: ``StartWeights.fingerprint``.

        Raises:
            DataError: it is another one now.
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
        """Take away what --overwrite replaces; called when everything needed is there."""
        adapter = self.paths.adapter
        for path in (self.paths.state, adapter, self.paths.averaged(adapter)):
            path.unlink(missing_ok=True)


def refuse_existing(paths: RunPaths) -> None:
    """Never write over what another run left.

    Raises:
        DataError: there is a result or a state of that name.
    """
    for path in (paths.adapter, paths.averaged(paths.adapter), paths.state):
        if path.exists():
            raise DataError("this file exists already", where=str(path), fix=START_OVER)
