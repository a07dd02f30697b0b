"""Write loss and learning rates for TensorBoard, under the names that sd-scripts uses."""

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
    """Check before training starts that TensorBoard can be written if log_with asks for it.

    Raises:
        EnvironmentFault: TensorBoard's package is not installed.
    """
    if config.log_with is not None:
        _writer_class()


@contextmanager
def tracking(config: RunConfig, step: int) -> Iterator[Track]:
    """Open TensorBoard's files in logging_dir/output_name for a ``with`` block.

    Args:
        config: with log_with, logging_dir and output_name.
        step: number of finished steps; later values of a killed run are hidden.

    Yields:
        A function that writes the report of a step; it does nothing if log_with is unset.
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
