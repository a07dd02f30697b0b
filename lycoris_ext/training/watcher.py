"""Who follows a run while it goes on: a terminal, a node of ComfyUI, or nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from lycoris_ext.data import TrainingSet
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.report import StepReport
from lycoris_ext.training.run import Run


class Watcher:
    """Hears of a run, draws its pictures and may stop it; every method may be left as it is.

    ``after_step``, ``draw`` and ``stop_asked`` may raise whatever ends a run in their program: the
    state is saved first.
    """

    def say(self, text: str) -> None:
        """Show how far the preparation is."""

    def note(self, text: str) -> None:
        """Show something that the user should know."""

    @contextmanager
    def counting(
        self, what: str, unit: str, total: int | None = None
    ) -> Iterator[Callable[[int], object]]:
        """Show progress of a part of the preparation.

        Args:
            what: "checking" or "encoding".
            unit: what is counted, in the plural.
            total: how many there are; None where nobody knows yet.

        Yields:
            A function to call with the number that is done since the last call.
        """
        yield lambda done: None

    def pictures_read(self, config: TrainConfig, pictures: TrainingSet) -> None:
        """Choose what will be drawn during the run; raises now where it cannot be drawn later."""

    @contextmanager
    def watching(self, run: Run) -> Iterator[None]:
        """Surround the steps of a run."""
        yield

    def after_step(self, run: Run, report: StepReport) -> None:
        """Hear of a finished step."""

    def draw(self, run: Run) -> Sequence[str]:
        """Draw the pictures of this moment; the network is injected and in eval mode.

        Returns:
            Names of the files that were written.
        """
        return ()

    def stop_asked(self) -> bool:
        """Say whether to save and stop now."""
        return False
