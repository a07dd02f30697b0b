"""Curves for TensorBoard, under the names that sd-scripts gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lycoris_ext.errors import EnvironmentFault
from lycoris_ext.training.report import StepReport
from lycoris_ext.training.run_config import RunConfig

Track = Callable[[StepReport], None]

_RATE_NAMES = {"unet": "lr/unet", "text_encoder": "lr/textencoder"}


def check_tracker(config: RunConfig) -> None:
    """Fail before the first step, not after the first hour.

    Raises:
        EnvironmentFault: TensorBoard is asked for and not installed.
    """
    if config.log_with is not None:
        _writer_class()


@contextmanager
def tracking(config: RunConfig, step: int) -> Iterator[Track]:
    """Curves into logging_dir/output_name for the time of a `with` block; nothing where none are
    asked for.

    Args:
        config: log_with, logging_dir and output_name.
        step: finished steps; what a killed run wrote after them is hidden.
    """
    if config.log_with is None or config.logging_dir is None:
        yield lambda report: None
        return
    folder = Path(config.logging_dir).expanduser() / config.output_name
    writer = _writer_class()(str(folder), purge_step=step + 1 if step else None)

    def track(report: StepReport) -> None:
        values = {"loss/current": report.loss, "loss/average": report.average}
        for name, rate in report.rates.items():
            values[_RATE_NAMES.get(name, f"lr/{name}")] = rate
        for name, value in values.items():
            writer.add_scalar(name, value, report.step)

    try:
        yield track
    finally:
        writer.close()


def _writer_class() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise EnvironmentFault(
            f"TensorBoard's writer cannot be imported ({error})",
            where='log_with = "tensorboard"',
            fix="pip install tensorboard, or remove log_with: the loss curve is in "
            "NAME.events.jsonl anyway",
        ) from error
    return SummaryWriter
