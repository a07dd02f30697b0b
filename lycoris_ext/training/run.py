"""A run in progress: its step count, when to save or draw, and how its files are written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

import torch

from lycoris_ext.data import BatchPlan, TrainingSet
from lycoris_ext.data.manifest_file import write_manifest
from lycoris_ext.errors import ConfigError, DivergedError
from lycoris_ext.formats import atomic_write, save_adapter
from lycoris_ext.formats.atomic import remove
from lycoris_ext.network import Network
from lycoris_ext.runs.events import EventLog
from lycoris_ext.runs.optimizer_state import pack
from lycoris_ext.runs.state import Progress, restore, save_state
from lycoris_ext.training.average import WeightAverage
from lycoris_ext.training.checkpoints import delete_checkpoints, record_checkpoint
from lycoris_ext.training.claim import Claim
from lycoris_ext.training.config import TrainConfig, dump_toml
from lycoris_ext.training.described import describe_run
from lycoris_ext.training.identity import IDENTITY, run_identity
from lycoris_ext.training.metadata import training_metadata
from lycoris_ext.training.optimizer_kind import has_modes
from lycoris_ext.training.optimizers import training_paused
from lycoris_ext.training.precision import DTYPES, build_scaler, choose_device, describe_device
from lycoris_ext.training.rates import Rates
from lycoris_ext.training.report import StepReport
from lycoris_ext.training.step import NotFiniteError


class Run:
    """A run in progress, new or continued from the saved state of an earlier process.

    Args:
        config: of the run.
        claim: the lock on the run's files, with the saved state if there is one; the state is
            dropped after it was restored.
        origin: what the run started from: fingerprint and kind of the base model, as it was before
            anything was merged into it, and ``StartWeights.fingerprint``.
        pictures: the training set.
        network, optimizer: as at the start of a new run; the saved state is restored into them.
        say: called with lines for the user: at which step the run continues, and why the result
            may differ from that of an uninterrupted run.

    Raises:
        DataError: the saved state belongs to another base model or other adapters to start from.
        FormatError: the saved state belongs to another network.
    """

    def __init__(
        self,
        config: TrainConfig,
        claim: Claim,
        origin: tuple[str, str, str],
        pictures: TrainingSet,
        network: Network,
        optimizer: torch.optim.Optimizer,
        say: Callable[[str], None],
    ) -> None:
        self.base_hash, self.base_kind, self.start = origin
        claim.check_base(self.base_hash, self.start)
        self.config, self.pictures = config, pictures
        self.network, self.optimizer = network, optimizer
        self.device, self.paths = choose_device(config.run.device), claim.paths
        self.total_steps = config.run.total_steps(pictures.epochs)
        base_rates = [group["base_lr"] for group in optimizer.param_groups]
        self.rates = Rates(config, base_rates, self.total_steps)
        self.scaler = build_scaler(config.run.mixed_precision)
        decay = config.run.ema_decay
        self.average = WeightAverage(network, decay) if decay else None
        self.events = EventLog(self.paths.events)
        self.step = 0
        self._state_saved_at = time.monotonic()
        self._optimizer_can_be_saved = False
        if claim.saved is None:
            claim.clear_old_results()
            self.events.continue_after(-1)
        else:
            self._resume(claim, say)
        atomic_write(self.paths.config, dump_toml(config).encode("utf-8"))
        write_manifest(self.paths.dataset, pictures.manifest)

    def _resume(self, claim: Claim, say: Callable[[str], None]) -> None:
        saved = claim.saved
        assert saved is not None
        restore(saved, self.network, self.optimizer)
        if self.average is not None:
            self.average.load(saved.average)
        if self.scaler is not None:
            self.scaler.load_state_dict(saved.progress.scaler)
        self.step = saved.progress.step
        self.events.continue_after(self.step, saved.progress.unlogged)
        self.events.write("resume", self.step)
        say(f"continuing after step {self.step} of {self.total_steps}")
        for line in self._exactness(saved.progress):
            say(line)
        if saved.note:
            say(f"note: {saved.note}")
            remove(self.paths.state)  # so that the next state does not take the place of this one
        claim.saved = None  # its tensors are copied; free the memory

    def summary(self) -> str:
        """Return a line for the user: algorithm, layers, file size, steps, device, optimizer."""
        return describe_run(self.config, self.network, self.total_steps)

    def after_step(self) -> int | None:
        """Count a finished step, apply scale_weight_norms, and update the average of the weights.

        Returns:
            How many layers scale_weight_norms scaled down; None without that option.

        Raises:
            ConfigError: the optimizer keeps something that cannot be saved; told after the first
                step, not when hours of training are to be saved.
        """
        self.step += 1
        if not self._optimizer_can_be_saved:
            self._check_optimizer()
        limit = self.config.run.scale_weight_norms
        scaled = None if limit is None else self.network.limit_norms(limit)[0]
        if self.average is not None:
            with self.paused() if has_modes(self.optimizer) else nullcontext():
                self.average.update(self.step)
        return scaled

    def _check_optimizer(self) -> None:
        try:
            pack(self.optimizer, self.network)
        except TypeError as error:
            name = self.config.optimizer.optimizer_type
            raise ConfigError(
                f"a run with {name} could not be continued: {error}",
                where="optimizer_type",
                fix="choose another optimizer",
            ) from error
        self._optimizer_can_be_saved = True

    def record(self, report: StepReport, scaled: int | None) -> None:
        """Write a finished step into the run's event log.

        Args:
            report: of the step.
            scaled: the result of ``after_step``.
        """
        more: dict[str, object] = {} if scaled is None else {"scaled_layers": scaled}
        if report.true_rates:
            more["true_rates"] = dict(report.true_rates)
        self.events.write(
            "step",
            report.step,
            loss=report.loss,
            epoch=report.epoch,
            grad_norm=report.norm,
            learning_rates=dict(report.rates),
            **more,
        )

    def diverged(self, error: NotFiniteError) -> DivergedError:
        """Log that a loss or gradient is not finite; return the error that names its pictures."""
        plan: BatchPlan = error.plan
        files = [str(path) for path in self.pictures.files(plan)]
        self.events.write("diverged", self.step, batch=plan.number, files=files)
        return DivergedError(
            f"{error.what} in step {self.step + 1}, batch {plan.number}; its pictures:\n  "
            + "\n  ".join(files),
            where=self.config.run.output_name,
            fix=f"look at these pictures, or lower learning_rate "
            f"({self.config.optimizer.learning_rate}); what was saved before is unharmed",
        )

    def state_is_due(self) -> bool:
        """Return True if the state should be saved now.

        save_state_every_n_steps or _seconds decide, and beside the first checkpoint it is saved in
        any case: a run with adapters and without a state could not be continued.
        """
        if self.checkpoint_is_due() and not self.paths.state.exists():
            return True
        every = self.config.run.save_state_every_n_steps
        if every is not None:
            return self.step % every == 0
        waited = time.monotonic() - self._state_saved_at
        return waited >= self.config.run.save_state_every_n_seconds

    def checkpoint_is_due(self) -> bool:
        """Return True if save_every_n_steps or _epochs asks for a checkpoint after this step."""
        run = self.config.run
        return self._is_due(run.save_every_n_steps, run.save_every_n_epochs)

    def previews_are_due(self) -> bool:
        """Return True if sample_every_n_steps or _epochs asks for pictures after this step."""
        sample = self.config.sample
        return self._is_due(sample.sample_every_n_steps, sample.sample_every_n_epochs)

    def _is_due(self, every_n_steps: int | None, every_n_epochs: int | None) -> bool:
        if every_n_steps is not None and self.step % every_n_steps == 0:
            return True
        if every_n_epochs is None:
            return False
        epochs = self.config.run.epochs_ending_at(self.step, self.pictures.epochs)
        return epochs > 0 and epochs % every_n_epochs == 0

    def save_checkpoint(self) -> None:
        """Save the adapter of this step as NAME-step-N.safetensors."""
        files = self._save_adapter_as(self.paths.checkpoint(self.step))
        record_checkpoint(self.events, self.step, files)

    def delete_old_checkpoints(self) -> None:
        """Delete the checkpoints that save_last_n_steps and _epochs do not keep."""
        run, epochs = self.config.run, self.pictures.epochs
        if run.save_last_n_steps or run.save_last_n_epochs:
            delete_checkpoints(
                self.events, unless=lambda step: run.keeps_checkpoint(step, self.step, epochs)
            )

    def save_state(self, *, finished: bool = False) -> None:
        """Save the state from which the run can continue bit for bit.

        Args:
            finished: the run has reached its last step, and its adapter is saved.
        """
        self._check_finite()
        progress = Progress(
            step=self.step,
            batch_number=self.step * self.config.run.gradient_accumulation_steps,
            finished=finished,
            config=self.config.flat(),
            dataset=self.pictures.fingerprint,
            base=self.base_hash,
            torch_version=torch.__version__,
            device=describe_device(self.device),
            threads=torch.get_num_threads(),
            scaler=self.scaler.state_dict() if self.scaler is not None else {},
            start=self.start,
            unlogged=self.events.unwritten,
        )
        average = None if self.average is None else self.average.tensors
        save_state(self.paths.states, progress, self.network, self.optimizer, average)
        self._state_saved_at = time.monotonic()

    def save_final(self, keep_state: bool) -> None:
        """Save the adapter at the end of the run, and the state if that is wanted.

        The adapter is saved first: on a disk that gets full it is worth more than the state.

        Args:
            keep_state: otherwise the state is deleted.
        """
        identity = run_identity(self.config, self.pictures, self.base_hash, self.start)
        self._save_adapter_as(self.paths.adapter, {IDENTITY: identity})
        self.events.write("finished", self.step, file=self.paths.adapter.name)
        if keep_state:
            self.save_state(finished=True)
        newest, before = self.paths.states
        for path in (before,) if keep_state else (newest, before):
            remove(path)

    @contextmanager
    def cleared_if_useless(self) -> Iterator[None]:
        """Delete the run's records if an error ends it that left no adapter and no state."""
        with ExitStack() as at_end:
            at_end.callback(self._clear_if_useless)
            yield
            at_end.pop_all()

    def _clear_if_useless(self) -> None:
        if not any(path.exists() for path in self.paths.results()):
            for path in (self.paths.config, self.paths.dataset, self.paths.events):
                remove(path)

    def save_stopped(self) -> None:
        """Save adapter and state of a run that is stopped before its end.

        The adapter is saved first: on a disk that gets full it is worth more than the state.
        """
        with ExitStack() as then:  # the last one first; each is done even if one before it fails
            then.callback(self.events.write, "stopped", self.step)
            then.callback(self.save_state)
            self.save_checkpoint()

    def _save_adapter_as(self, path: Path, more: Mapping[str, str] = {}) -> list[Path]:
        """Save the adapter, and its average if there is one; return the files.

        Args:
            path: of the adapter.
            more: further entries of its metadata.
        """
        self._check_finite()
        metadata = training_metadata(
            self.config, self.pictures, self.base_hash, self.base_kind, self.step
        )
        metadata |= more
        dtype = DTYPES[self.config.run.save_precision]
        files = [path]
        if self.average is not None:
            with self.average.in_place():
                averaged = self.network.adapter_state(metadata, dtype)
            files.append(self.paths.averaged(path))
            save_adapter(files[-1], averaged)
        with self.paused():
            state = self.network.adapter_state(metadata, dtype)
        save_adapter(path, state)
        return files

    def paused(self) -> AbstractContextManager[None]:
        """Return a context in which the network is ready for drawing and saving."""
        return training_paused(self.network, self.optimizer)

    def _check_finite(self) -> None:
        """Raise DivergedError if a parameter is NaN or infinite, before files are replaced."""
        for name, parameter in self.network.named_parameters():
            if not bool(parameter.isfinite().all()):
                raise DivergedError(
                    f"the adapter holds NaN or infinity after step {self.step}",
                    where=name,
                    fix="lower the learning rate; the files saved before are unharmed",
                )

    def _exactness(self, progress: Progress) -> list[str]:
        """Return a line for the user if the continued run may differ from an uninterrupted one."""
        reasons = [
            f"{what} was {before}, is {now}"
            for what, before, now in (
                ("torch", progress.torch_version, torch.__version__),
                ("the device", progress.device, describe_device(self.device)),
                ("the number of threads", progress.threads, torch.get_num_threads()),
            )
            if before != now
        ]
        if self.device.type != "cpu" and not torch.are_deterministic_algorithms_enabled():
            reasons.append(f"{self.device.type} kernels may add in any order")
        if not reasons:
            return []
        return ["not bit for bit the same as without the stop: " + "; ".join(reasons)]
