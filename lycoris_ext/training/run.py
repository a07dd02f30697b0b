"""One run on disk: what it may overwrite, where it continues, and what it saves."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from lycoris_ext.data import TrainingSet
from lycoris_ext.errors import ConfigError, DataError, DivergedError
from lycoris_ext.formats import atomic_write, save_adapter
from lycoris_ext.formats.atomic import make_folder, remove_leftovers
from lycoris_ext.network import Network
from lycoris_ext.runs.events import EventLog
from lycoris_ext.runs.lock import RunLock
from lycoris_ext.runs.paths import RunPaths
from lycoris_ext.runs.state import Progress, SavedState, load_state, restore, save_state
from lycoris_ext.training.average import WeightAverage
from lycoris_ext.training.config import TrainConfig, dump_toml
from lycoris_ext.training.metadata import training_metadata
from lycoris_ext.training.optimizers import build_optimizer
from lycoris_ext.training.precision import (
    DTYPES,
    build_scaler,
    check_precision,
    choose_device,
    describe_device,
)
from lycoris_ext.training.start import StartWeights, config_of

START_OVER = "choose another output_name, or start over with --overwrite"


@dataclass
class Run:
    """A run in progress.

    Args:
        config: resolved options.
        device: where it computes.
        saved: the state it is continued from, None for a new run.
        lock: keeps other processes away from its files.
    """

    config: TrainConfig
    device: torch.device
    saved: SavedState | None
    lock: RunLock
    step: int = 0
    base_hash: str = ""
    base_kind: str = ""
    _state_saved_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.paths = RunPaths.of(self.config.run)
        self.events = EventLog(self.paths.events)

    def check_pictures(self, training_set: TrainingSet) -> None:
        """Refuse to continue on other pictures, or to train a finished run again.

        Raises:
            DataError: pictures or captions changed since the state was written.
            ConfigError: the run has its full length already.
        """
        self.training_set = training_set
        self.total_steps = self.config.run.total_steps(training_set.batches_per_epoch)
        if self.saved is None:
            return
        progress = self.saved.progress
        if progress.dataset != training_set.fingerprint:
            raise DataError(
                f"pictures or captions changed since this run reached step {progress.step}",
                where=str(self.paths.state),
                fix=f"put them back to continue; to train on the new ones, {START_OVER}",
            )
        if progress.step > self.total_steps or (
            progress.finished and progress.step == self.total_steps
        ):
            raise ConfigError(
                f"this run is finished at step {progress.step}, and {self.total_steps} are asked",
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

    def begin(
        self,
        weights: StartWeights,
        targets: Mapping[str, nn.Module],
        base_hash: str,
        base_kind: str,
    ) -> list[str]:
        """Build what is trained, write the resolved config, and continue from the saved state where
        there is one.

        Args:
            weights: the adapters that the run starts from.
            targets: the models that are adapted, by the core's names.
            base_hash: of the base model.
            base_kind: its family, a key of ``formats.metadata.FAMILIES``.

        Returns:
            Lines for the user: where it continues, and why it may not be exact.

        Raises:
            ConfigError, FormatError: the network cannot be built, or not trained as it is asked.
            DataError: the base model, or an adapter to start from, is another one now.
        """
        network, optimizer = self._build(weights, targets)
        scaler, start = build_scaler(self.config.run.mixed_precision), weights.fingerprint
        self.network, self.optimizer, self.scaler = network, optimizer, scaler
        self.base_hash, self.base_kind, self.start = base_hash, base_kind, start
        decay = self.config.run.ema_decay
        self.average = WeightAverage(network, decay) if decay else None
        lines = []
        if self.saved is None:
            # Only now, when everything needed is there, does --overwrite take anything away.
            adapter = self.paths.adapter
            for path in (self.paths.state, adapter, self.paths.averaged(adapter)):
                path.unlink(missing_ok=True)
            self.events.continue_after(-1)
        else:
            progress = self.saved.progress
            if progress.base != base_hash:
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
            restore(self.saved, network, optimizer)
            if self.average is not None:
                self.average.load(self.saved.average)
            if scaler is not None:
                scaler.load_state_dict(progress.scaler)
            self.step = progress.step
            self.events.continue_after(self.step)
            self.events.write("resume", self.step)
            lines.append(f"continuing after step {self.step} of {self.total_steps}")
            lines += self._exactness(progress)
            self.saved = None  # its tensors are copied; free the memory
        atomic_write(self.paths.config, dump_toml(self.config).encode("utf-8"))
        return lines

    def _build(
        self, weights: StartWeights, targets: Mapping[str, nn.Module]
    ) -> tuple[Network, torch.optim.Optimizer]:
        """As they are at the start of a new run."""
        config = self.config
        network = weights.build_network(targets, config.effective_network, config.run.seed)
        if config.run.scale_weight_norms is not None:
            network.check_norms_have_limits()  # an error now rather than after the first step
        if config.start.dim_from_weights:
            self.config = replace(config, network=config_of(network, config.network))
        groups = network.param_groups(**config.optimizer.rates)
        return network, build_optimizer(groups, config.optimizer)

    def after_step(self) -> int:
        """Count the step that was just done, and do what belongs to every step.

        Returns:
            How many layers scale_weight_norms scaled down.
        """
        self.step += 1
        limit = self.config.run.scale_weight_norms
        scaled = 0 if limit is None else self.network.limit_norms(limit)[0]
        if self.average is not None:
            self.average.update(self.step)
        return scaled

    def state_is_due(self) -> bool:
        """Whether enough work was done since the last state."""
        every = self.config.run.save_state_every_n_steps
        if every is not None:
            return self.step % every == 0
        waited = time.monotonic() - self._state_saved_at
        return waited >= self.config.run.save_state_every_n_seconds

    def checkpoint_is_due(self) -> bool:
        """Whether the adapter is to be saved under this step's own name."""
        run = self.config.run
        return self._is_due(run.save_every_n_steps, run.save_every_n_epochs)

    def previews_are_due(self) -> bool:
        """Whether pictures are to be drawn after this step."""
        sample = self.config.sample
        return self._is_due(sample.sample_every_n_steps, sample.sample_every_n_epochs)

    def _is_due(self, every_n_steps: int | None, every_n_epochs: int | None) -> bool:
        if every_n_steps is not None and self.step % every_n_steps == 0:
            return True
        if every_n_epochs is None:
            return False
        run, batches = self.config.run, self.training_set.batches_per_epoch
        epochs = self.step * run.gradient_accumulation_steps // batches
        return (
            epochs > 0
            and epochs % every_n_epochs == 0
            and run.steps_after_epochs(epochs, batches) == self.step
        )

    def save_checkpoint(self) -> None:
        """Save the adapter as NAME-step-N.safetensors."""
        path = self.paths.checkpoint(self.step)
        self._save_adapter_as(path)
        self.events.write("checkpoint", self.step, file=path.name)

    def save_state(self, *, finished: bool = False) -> None:
        """Save what resuming needs."""
        self._check_finite()
        progress = Progress(
            step=self.step,
            batch_number=self.step * self.config.run.gradient_accumulation_steps,
            finished=finished,
            config=self.config.flat(),
            dataset=self.training_set.fingerprint,
            base=self.base_hash,
            torch_version=torch.__version__,
            device=describe_device(self.device),
            threads=torch.get_num_threads(),
            scaler=self.scaler.state_dict() if self.scaler is not None else {},
            start=self.start,
        )
        average = None if self.average is None else self.average.tensors
        save_state(self.paths.state, progress, self.network, self.optimizer, average)
        self._state_saved_at = time.monotonic()

    def save_final(self) -> None:
        """Save the result.

        The state comes first: a kill before the adapter is complete then costs nothing. It is
        marked as finished last, so that a finished run always has its adapter.
        """
        self.save_state()
        self._save_adapter_as(self.paths.adapter)
        self.events.write("finished", self.step, file=self.paths.adapter.name)
        self.save_state(finished=True)

    def _save_adapter_as(self, path: Path) -> None:
        self._check_finite()
        metadata = training_metadata(
            self.config, self.training_set, self.base_hash, self.base_kind, self.step
        )
        dtype = DTYPES[self.config.run.save_precision]
        if self.average is not None:
            with self.average.in_place():
                averaged = self.network.adapter_state(metadata, dtype)
            save_adapter(self.paths.averaged(path), averaged)
        save_adapter(path, self.network.adapter_state(metadata, dtype))

    def _check_finite(self) -> None:
        """Never replace good weights by broken ones."""
        for name, parameter in self.network.named_parameters():
            if not bool(parameter.isfinite().all()):
                raise DivergedError(
                    f"the adapter holds NaN or infinity after step {self.step}",
                    where=name,
                    fix="lower the learning rate; the files saved before are unharmed",
                )

    def _exactness(self, progress: Progress) -> list[str]:
        """Say in one line when the continued run cannot be bit for bit the same."""
        reasons = [
            f"{what} was {before}, is {now}"
            for what, before, now in (
                ("torch", progress.torch_version, torch.__version__),
                ("the device", progress.device, describe_device(self.device)),
                ("the number of threads", progress.threads, torch.get_num_threads()),
            )
            if before != now
        ]
        if self.device.type != "cpu":
            reasons.append(f"{self.device.type} kernels may add in any order")
        if not reasons:
            return []
        return ["not bit for bit the same as without the stop: " + "; ".join(reasons)]


def open_run(config: TrainConfig, lock: RunLock) -> Run:
    """Find out whether a run is new or to be continued.

    Continuing sets torch's number of threads to what the run was started with: sums are split by
    threads, so their rounding depends on it.

    Args:
        config: resolved options.
        lock: of this run, held where its folder exists.

    Raises:
        ConfigError: the options changed since the state was written, or fp16 without a GPU.
        DataError: there is a result of that name but no state.
        EnvironmentFault: the device is not there.
    """
    device = choose_device(config.run.device)
    check_precision(config.run.mixed_precision, device)
    paths = RunPaths.of(config.run)
    if config.run.overwrite:
        return Run(config, device, None, lock)
    saved = load_state(paths.state)
    if saved is None:
        refuse_existing(paths)
        return Run(config, device, None, lock)
    changed = config.changed_since(saved.progress.config)
    if changed:
        listed = "; ".join(
            f"{name} was {old!r}, is {new!r}" for name, (old, new) in changed.items()
        )
        raise ConfigError(
            f"a run of this name stands at step {saved.progress.step} with other options: {listed}",
            where=str(paths.state),
            fix=f"put them back to continue, {START_OVER}",
        )
    torch.set_num_threads(saved.progress.threads)
    return Run(config, device, saved, lock)


def refuse_existing(paths: RunPaths) -> None:
    """Never write over what another run left.

    Raises:
        DataError: there is a result or a state of that name.
    """
    for path in (paths.adapter, paths.averaged(paths.adapter), paths.state):
        if path.exists():
            raise DataError("this file exists already", where=str(path), fix=START_OVER)
