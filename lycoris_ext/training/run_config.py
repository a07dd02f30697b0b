"""Options of a run itself: its length, its precision, what it writes and when."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.options import Section, option
from lycoris_ext.runs.paths import is_file_name


@dataclass(frozen=True, init=False)
class RunConfig(Section):
    """How long to train, in which precision, and what is written where."""

    output_dir: str = option(
        "output",
        "Folder of everything that the run writes.",
        is_path=True,
        may_change="always",
        recorded="in the run's own files",
    )
    output_name: str = option(
        "last", "File name of the result, without its ending.", may_change="always"
    )
    seed: int = option(
        0,
        "Every random number of the run follows from it.",
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
        "Length of the run in passes over the data, in place of max_train_steps.",
        unset="max_train_steps decides",
        low=1,
        may_change="if no rate follows the length",
    )
    gradient_accumulation_steps: int = option(
        1, "Batches whose gradients are averaged for one optimizer step.", low=1
    )
    gradient_checkpointing: bool = option(
        False,
        "Compute parts of the forward pass a second time in the backward pass, instead of keeping "
        "them: slower, with much less memory.",
    )
    mixed_precision: str = option(
        "no",
        'Number format of the base model and of its computation: "no" (float32), "bf16", or "fp16" '
        "(on a GPU only).",
        choices=("no", "bf16", "fp16"),
    )
    scale_weight_norms: float | None = option(
        None,
        "Scale each layer's update down to this length (Frobenius norm) after every step, where it "
        "is longer (max-norm regularization); 1 is usual.",
        unset="never",
        above=0,
        fix="use 1, or leave it out",
    )
    ema_decay: float = option(
        0.0,
        "Average the adapter over the steps and save the average as NAME-ema, too: the share of "
        "the old average that each step keeps; 0.99 or 0.999 is usual, 0: no average.",
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
        "Save the adapter as NAME-step-N.safetensors, too, after every so many steps.",
        unset="never",
        low=1,
        may_change="always",
    )
    save_every_n_epochs: int | None = option(
        None,
        "Save the adapter as NAME-step-N.safetensors, too, after every so many passes over the "
        "data.",
        unset="never",
        low=1,
        may_change="always",
    )
    save_state_every_n_steps: int | None = option(
        None,
        "Save what is needed to continue the run after every so many steps.",
        unset="after every save_state_every_n_seconds",
        low=1,
        may_change="always",
    )
    save_state_every_n_seconds: float = option(
        60.0,
        "Save what is needed to continue the run after so many seconds: at most this much work is "
        "lost when the run is killed.",
        low=0,
        may_change="always",
    )
    log_with: str | None = option(
        None,
        '"tensorboard" also writes the loss and the learning rates for TensorBoard.',
        unset="they are in NAME.events.jsonl alone",
        choices=("tensorboard",),
        may_change="always",
    )
    logging_dir: str | None = option(
        None,
        "Folder of TensorBoard's files, for log_with.",
        unset="none are written",
        is_path=True,
        may_change="always",
        recorded="in the run's own files",
    )
    device: str = option(
        "auto",
        'Where to train: "auto" (on a GPU where there is one), "cpu", "cuda", "cuda:1" or "mps".',
        may_change="always",
    )
    overwrite: bool = option(
        False,
        "Start over although there are files of a run with this name.",
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

    def total_steps(self, batches_per_epoch: int) -> int:
        """Optimizer steps of the whole run."""
        if self.max_train_epochs is None:
            return self.max_train_steps
        return self.steps_after_epochs(self.max_train_epochs, batches_per_epoch)

    def steps_after_epochs(self, epochs: int, batches_per_epoch: int) -> int:
        """The first step at whose end so many passes over the data are complete."""
        return math.ceil(epochs * batches_per_epoch / self.gradient_accumulation_steps)
