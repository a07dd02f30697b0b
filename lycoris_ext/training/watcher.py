"""The interface between a run and the program that shows it: a terminal, or a ComfyUI node."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from lycoris_ext.data import TrainingSet
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.report import StepReport
from lycoris_ext.training.run import Run


class Watcher:
    """Is informed about a run, draws its pictures and may stop it.

    Subclass it and override what you need; by default every method does nothing. ``after_step``,
    ``draw`` and ``stop_asked`` may raise any error to end the run; its state is saved first. But
    pictures that cannot be drawn, for want of memory or of space on the disk, end no run: for a
    ``LycorisExtError`` of ``draw``, an error of the operating system and an exhausted memory the
    user gets a note.
    """

    def say(self, text: str) -> None:
        """Show a line about the progress of the run's preparation."""

    def note(self, text: str) -> None:
        """Show a note that the user should read; by default as `say` does."""
        self.say(text)

    @contextmanager
    def counting(
        self, what: str, unit: str, total: int | None = None
    ) -> Iterator[Callable[[int], object]]:
        """Show the progress of the preparation, or of a validation, for a ``with`` block.

        Args:
            what: "checking", "encoding" or "validating".
            unit: what is counted: "pictures", "captions" or "batches".
            total: how many there are; None if that is unknown.

        Yields:
            A function to call with the number of units done since its last call.
        """
        yield lambda done: None

    def pictures_read(self, config: TrainConfig, pictures: TrainingSet) -> None:
        """Prepare what will be drawn during the run; raise an error now if that cannot work.

        Called when the pictures were read, before the base model is loaded.
        """

    @contextmanager
    def watching(self, run: Run) -> Iterator[None]:
        """A context that is entered before the first step of a run and left after the last one."""
        yield

    def after_step(self, run: Run, report: StepReport) -> None:
        """Show a finished step; called after each step, when due files are saved."""

    def after_validation(self, run: Run, losses: Mapping[str, float]) -> None:
        """Show the losses on held-out pictures, by the names that sd-scripts has for them."""

    def draw(self, run: Run) -> Sequence[str]:
        """Draw pictures with the adapter as it is now; it is injected and in eval mode.

        Returns:
            Names of the picture files that were written.
        """
        return ()

    def stop_asked(self) -> bool:
        """Return True to save the run and stop it; asked after each step."""
        return False
