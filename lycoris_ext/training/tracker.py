"""Write loss and learning rates for TensorBoard, under the names that sd-scripts uses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lycoris_ext.errors import EnvironmentFault
from lycoris_ext.files import expanded
from lycoris_ext.training.report import StepReport
from lycoris_ext.training.run_config import RunConfig

Track = Callable[[int, Mapping[str, float]], None]

_RATE_NAMES = {"unet": "lr/unet", "text_encoder": "lr/textencoder"}


def curves(report: StepReport) -> dict[str, float]:
    """Return the numbers of a step by their names in TensorBoard."""
    rates = {_RATE_NAMES.get(name, f"lr/{name}"): rate for name, rate in report.rates.items()}
    for name, rate in report.true_rates.items():
        rates[_RATE_NAMES.get(name, f"lr/{name}").replace("lr/", "lr/d*lr/")] = rate
    return {"loss/current": report.loss, "loss/average": report.average, **rates}


def check_tracker(config: RunConfig) -> None:
    """Check before training starts that TensorBoard can be written if log_with asks for it.

    Raises:
        EnvironmentFault: TensorBoard's package is not installed.
    """
    if config.log_with is not None:
        _writer_class()


@contextmanager
def tracking(config: RunConfig, step: int, note: Callable[[str], None]) -> Iterator[Track]:
    """Open TensorBoard's files in logging_dir/output_name for a ``with`` block.

    Args:
        config: with log_with, logging_dir and output_name.
        step: number of finished steps; later values of a killed run are hidden.
        note: called once with a sentence if the files cannot be written any more, because a disk is
            full or the folder is gone. They are an extra: the run goes on.

    Yields:
        A function that writes the numbers of a step, by name; it does nothing if log_with is unset.
    """
    if config.log_with is None or config.logging_dir is None:
        yield lambda step, values: None
        return
    folder = expanded(config.logging_dir) / config.output_name
    log = _Log(folder, step, note)
    with _unseen_in_its_thread():
        try:
            log.begin()
            yield log.track
        finally:
            log.close()


class _Log:
    """TensorBoard's files of a run, until they cannot be written any more."""

    def __init__(self, folder: Path, step: int, note: Callable[[str], None]) -> None:
        self._folder, self._step, self._note = folder, step, note
        self._writer: Any = None
        self._works = True

    def begin(self) -> None:
        writer_class = _writer_class()
        with self._stopped_by_errors():
            purge = self._step + 1 if self._step else None
            self._writer = writer_class(str(self._folder), purge_step=purge)

    def track(self, step: int, values: Mapping[str, float]) -> None:
        with self._stopped_by_errors():
            for name, value in values.items() if self._works else ():
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        with self._stopped_by_errors():
            if self._works:
                self._writer.close()

    @contextmanager
    def _stopped_by_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - of any class: its thread's, or tensorflow's
            self._works = False
            text = " ".join(str(error).split()) or type(error).__name__
            self._note(
                f"TensorBoard's log in {self._folder} cannot be written any more ({text}); the "
                "training goes on, and the loss curve is in NAME.events.jsonl"
            )
            if self._writer is not None:
                with suppress(Exception):  # it would write the rest of what it holds
                    self._writer.close()


@contextmanager
def _unseen_in_its_thread() -> Iterator[None]:
    """Show no traceback of a thread of TensorBoard: the next call raises the same error here."""
    before = threading.excepthook

    def hook(raised: threading.ExceptHookArgs) -> None:
        if not type(raised.thread).__module__.startswith("tensorboard"):
            before(raised)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


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
