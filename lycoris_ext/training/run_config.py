"""Options of a run itself: its length, its precision, what it writes and when."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lycoris_ext.errors import ConfigError
from lycoris_ext.runs.paths import is_file_name

MIXED_PRECISIONS = ("no", "bf16", "fp16")
TRACKERS = ("tensorboard",)
SAVE_PRECISIONS = ("fp16", "bf16", "float")


@dataclass(frozen=True)
class RunConfig:
    """How long to train, in which precision, and what is written where.

    Args:
        output_dir: folder of everything the run writes.
        output_name: file name of the result, without its ending.
        seed: every random number of the run follows from it.
        max_train_steps: optimizer steps in all.
        max_train_epochs: length in passes over the data instead; wins over max_train_steps.
        gradient_accumulation_steps: batches per optimizer step.
        gradient_checkpointing: compute parts of the forward pass twice, which saves much memory.
        mixed_precision: "no" (float32), "bf16" or "fp16" (GPU only).
        scale_weight_norms: scale each layer's update down to this norm after every step (max-norm
            regularization; unset: never). 1 is usual.
        ema_decay: also average the adapter over the steps and save the average as NAME-ema: the
            share of the old average kept in a step, 0.99 or 0.999; 0: no average.
        save_precision: of the adapter file: "fp16", "bf16" or "float".
        save_every_n_steps: also save the adapter as NAME-step-N.safetensors.
        save_every_n_epochs: the same, counted in passes over the data.
        save_state_every_n_steps: save what resuming needs; unset: every save_state_every_n_seconds.
        save_state_every_n_seconds: at most so much work is lost when the run is killed.
        log_with: "tensorboard" also writes the curves for TensorBoard; unset: they are in
            NAME.events.jsonl alone.
        logging_dir: folder of TensorBoard's files.
        device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1", "mps".
        overwrite: start over although files of a run with this name exist.
    """

    output_dir: str = "output"
    output_name: str = "last"
    seed: int = 0
    max_train_steps: int = 1600
    max_train_epochs: int | None = None
    gradient_accumulation_steps: int = 1
    gradient_checkpointing: bool = False
    mixed_precision: str = "no"
    scale_weight_norms: float | None = None
    ema_decay: float = 0.0
    save_precision: str = "fp16"
    save_every_n_steps: int | None = None
    save_every_n_epochs: int | None = None
    save_state_every_n_steps: int | None = None
    save_state_every_n_seconds: float = 60.0
    log_with: str | None = None
    logging_dir: str | None = None
    device: str = "auto"
    overwrite: bool = False

    def __post_init__(self) -> None:
        self._check_name()
        for name in (
            "max_train_steps",
            "max_train_epochs",
            "gradient_accumulation_steps",
            "save_every_n_steps",
            "save_every_n_epochs",
            "save_state_every_n_steps",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(
                    f"{name} is {value}, expected 1 or more",
                    where=name,
                    fix=f"change {name}, or leave it out",
                )
        for name, known in (
            ("mixed_precision", MIXED_PRECISIONS),
            ("save_precision", SAVE_PRECISIONS),
            ("log_with", (None, *TRACKERS)),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"{name} {getattr(self, name)!r} is not supported",
                    where=name,
                    fix="use one of " + ", ".join(filter(None, known)),
                )
        self._check_ranges()
        for name, other in (("log_with", "logging_dir"), ("logging_dir", "log_with")):
            if getattr(self, name) is not None and getattr(self, other) is None:
                raise ConfigError(
                    f"{name} is set and {other} is not",
                    where=name,
                    fix='set log_with = "tensorboard" and logging_dir to a folder, or neither',
                )

    def _check_ranges(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed is {self.seed}", where="seed", fix="use 0 or more")
        if not self.save_state_every_n_seconds >= 0:
            raise ConfigError(
                f"save_state_every_n_seconds is {self.save_state_every_n_seconds}",
                where="save_state_every_n_seconds",
                fix="use 0 or more",
            )

        if self.scale_weight_norms is not None and not 0 < self.scale_weight_norms < math.inf:
            raise ConfigError(
                f"scale_weight_norms is {self.scale_weight_norms}, expected a number above 0",
                where="scale_weight_norms",
                fix="use 1, or leave it out",
            )
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(
                f"ema_decay is {self.ema_decay}, expected a share from 0 to below 1",
                where="ema_decay",
                fix="use 0.999, or 0 for no average",
            )

    def total_steps(self, batches_per_epoch: int) -> int:
        """Optimizer steps of the whole run."""
        if self.max_train_epochs is None:
            return self.max_train_steps
        return self.steps_after_epochs(self.max_train_epochs, batches_per_epoch)

    def steps_after_epochs(self, epochs: int, batches_per_epoch: int) -> int:
        """The first step at whose end so many passes over the data are complete."""
        return math.ceil(epochs * batches_per_epoch / self.gradient_accumulation_steps)

    def _check_name(self) -> None:
        if not is_file_name(self.output_name):
            raise ConfigError(
                f"output_name {self.output_name!r} is no file name",
                where="output_name",
                fix="use letters, digits, - and _; folders go into output_dir",
            )
        if self.output_name.endswith(".safetensors"):
            raise ConfigError(
                f"output_name {self.output_name!r} has an ending",
                where="output_name",
                fix=f'write "{self.output_name[: -len(".safetensors")]}"',
            )
