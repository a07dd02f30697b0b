"""Options of a run: its length, its precision, and which files it writes when."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from lycoris_ext.data.order import Epochs
from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.options import Section, option
from lycoris_ext.runs.paths import is_file_name


@dataclass(frozen=True, init=False)
class RunConfig(Section):
    """Length, precision and output files of a run."""

    output_dir: str = option(
        "output",
        "Folder into which the run writes all its files.",
        is_path=True,
        may_change="always",
        recorded="in the run's own files",
    )
    output_name: str = option(
        "last", "File name of the adapter, without .safetensors.", may_change="always"
    )
    seed: int = option(
        0,
        "Seed from which all random numbers of the run follow.",
        low=0,
        below=2**63,
        fix="use 0 or more",
    )
    max_train_steps: int = option(
        1600,
        "Length of the run in optimizer steps.",
        low=1,
        may_change="if no rate follows the length",
    )
    max_train_epochs: int | None = option(
        None,
        "Length of the run in epochs (passes over the pictures), in place of max_train_steps.",
        unset="max_train_steps decides",
        low=1,
        may_change="if no rate follows the length",
    )
    gradient_accumulation_steps: int = option(
        1, "Number of batches whose gradients are averaged for one optimizer step.", low=1
    )
    gradient_checkpointing: bool = option(
        False,
        "Compute parts of the forward pass again in the backward pass instead of keeping them in "
        "memory: slower, but needs much less memory.",
    )
    mixed_precision: str = option(
        "no",
        'Number format of the base model and its computation: "no" (float32), "bf16", or "fp16" '
        "(on a GPU only).",
        choices=("no", "bf16", "fp16"),
    )
    scale_weight_norms: float | None = option(
        None,
        "Max-norm regularization: after every step, scale down each layer's update whose Frobenius "
        "norm is larger than this; 1 is usual.",
        unset="updates are not limited",
        above=0,
        fix="use 1, or leave it out",
    )
    ema_decay: float = option(
        0.0,
        "Moving average (EMA) of the adapter's weights over the steps, saved as an additional file "
        "NAME-ema: the share of the old average that each step keeps. 0.99 or 0.999 is usual; 0: "
        "no average.",
        low=0,
        below=1,
        step=0.001,
        fix="use 0.999, or 0 for no average",
    )
    save_precision: str = option(
        "fp16",
        'Number format of the adapter file: "fp16", "bf16" or "float" (float32).',
        choices=("fp16", "bf16", "float"),
        may_change="always",
    )
    save_every_n_steps: int | None = option(
        None,
        "Interval in steps at which a copy of the adapter is saved as NAME-step-N.safetensors.",
        unset="never",
        low=1,
        may_change="always",
    )
    save_every_n_epochs: int | None = option(
        None,
        "Interval in epochs at which a copy of the adapter is saved as NAME-step-N.safetensors.",
        unset="never",
        low=1,
        may_change="always",
    )
    save_last_n_steps: int | None = option(
        None,
        "Age in steps up to which a copy that save_every_n_steps asked for is kept; older ones are "
        "deleted when the next one is saved.",
        unset="all are kept",
        low=1,
        may_change="always",
    )
    save_last_n_epochs: int | None = option(
        None,
        "Number of copies that are kept of those that save_every_n_epochs asked for; older ones "
        "are deleted when the next one is saved.",
        unset="all are kept",
        low=1,
        may_change="always",
    )
    save_state_every_n_steps: int | None = option(
        None,
        "Interval in steps at which the state of the run is saved, from which a run that was "
        "killed continues.",
        unset="save_state_every_n_seconds decides",
        low=1,
        may_change="always",
    )
    save_state_every_n_seconds: float = option(
        60.0,
        "Interval in seconds at which the state of the run is saved, from which a run that was "
        "killed continues. It is saved after the first step that ends later than this; 0: after "
        "every step. No effect if save_state_every_n_steps is set.",
        low=0,
        may_change="always",
    )
    log_with: str | None = option(
        None,
        '"tensorboard": also write the loss and the learning rates for TensorBoard, into '
        "logging_dir, which must be set.",
        unset="they are only in NAME.events.jsonl",
        choices=("tensorboard",),
        may_change="always",
    )
    logging_dir: str | None = option(
        None,
        "Folder for TensorBoard's files; set it together with log_with.",
        unset="no such files are written",
        is_path=True,
        may_change="always",
        recorded="in the run's own files",
    )
    device: str = option(
        "auto",
        'Device to train on: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1" or "mps".',
        may_change="always",
    )
    left_out: tuple[str, ...] = option(
        (),
        "Settings of another program's config that have no counterpart here and were left out, as "
        "--skip-unsupported writes them; adapters record them, and nothing else depends on them.",
        may_change="always",
    )
    overwrite: bool = option(
        False,
        "Start a new run even if there are files of a run with this output_name, and delete its "
        "state and its adapters, those of single steps among them.",
        may_change="always",
        recorded="nowhere",
    )

    def contradictions(self) -> Iterator[LycorisExtError]:
        if not is_file_name(self.output_name):
            yield ConfigError(
                f"output_name {self.output_name!r} is no file name",
                where="output_name",
                fix="use letters, digits, - and _; folders go into output_dir",
            )
        elif self.output_name.endswith(".safetensors"):
            yield ConfigError(
                f"output_name {self.output_name!r} has an ending",
                where="output_name",
                fix=f'write "{self.output_name[: -len(".safetensors")]}"',
            )
        for name, other in (("log_with", "logging_dir"), ("logging_dir", "log_with")):
            if getattr(self, name) is not None and getattr(self, other) is None:
                yield ConfigError(
                    f"{name} is set and {other} is not",
                    where=name,
                    fix='set log_with = "tensorboard" and logging_dir to a folder, or neither',
                )

    def total_steps(self, epochs: Epochs) -> int:
        """Return the number of optimizer steps of the whole run."""
        if self.max_train_epochs is None:
            return self.max_train_steps
        return self.steps_after_epochs(self.max_train_epochs, epochs)

    def steps_after_epochs(self, number: int, epochs: Epochs) -> int:
        """Return the number of optimizer steps after which this many epochs are complete."""
        return math.ceil(epochs.batches_in(number) / self.gradient_accumulation_steps)

    def epochs_ending_at(self, step: int, epochs: Epochs) -> int:
        """Return the number of epochs that are complete after a step; 0 if none ends with it."""
        number = epochs.complete_in(step * self.gradient_accumulation_steps)
        return number if step == self.steps_after_epochs(number, epochs) else 0

    def keeps_checkpoint(self, step: int, newest: int, epochs: Epochs) -> bool:
        """Return False if save_last_n_steps and _epochs let an older checkpoint be deleted.

        The windows are sd-scripts'. A checkpoint that both intervals asked for is kept as long as
        one of them keeps it; one that neither asked for, such as that of a stopped run, for good.

        Args:
            step: of the checkpoint.
            newest: the step of the newest one.
            epochs: of the pictures.
        """
        wanted = []
        if self.save_every_n_steps and step % self.save_every_n_steps == 0:
            last = self.save_last_n_steps
            wanted.append(last is None or step >= newest - last)
        epoch = self.epochs_ending_at(step, epochs)
        if self.save_every_n_epochs and epoch and epoch % self.save_every_n_epochs == 0:
            done = epochs.complete_in(newest * self.gradient_accumulation_steps)
            last = self.save_last_n_epochs
            wanted.append(last is None or epoch > done - last * self.save_every_n_epochs)
        return any(wanted) or not wanted
