"""Show a training run on its node, draw its pictures, and stop it on Cancel."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from PIL import Image

from lycoris_ext.data import TrainingSet
from lycoris_ext.formats import atomic_write
from lycoris_ext.plots.grid import comparison_grid, crossed_out
from lycoris_ext.printable import printable
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.preview_prompts import caption_prompts
from lycoris_ext.training.report import StepReport
from lycoris_ext.training.run import Run
from lycoris_ext.training.watcher import Watcher
from lycoris_ext.words import short

from .base_model import ConnectedModel
from .drawing import Drawing, draw
from .images import png
from .live_curve import LiveCurve
from .status import Bar, show
from .widgets import lines


class NodeWatcher(Watcher):
    """The `Watcher` of a run inside ComfyUI: progress bar, loss and pictures on the node.

    Args:
        base: the connected models.
        config: of the run.
        drawing: the settings of the pictures that are drawn during training.
        node_id: of the Train node.
        values: its inputs, of which sample_prompts is read.
        captions_are_names: whether captions only name conditionings that other nodes made.

    Attributes:
        pictures: those that were drawn, in order.
        told: notes that the user should read.
    """

    def __init__(
        self,
        base: ConnectedModel,
        config: TrainConfig,
        drawing: Drawing,
        node_id: str | None,
        values: dict[str, Any],
        captions_are_names: bool = False,
    ) -> None:
        self._captions_are_names = captions_are_names
        self.base, self.config, self.drawing, self.node_id = base, config, drawing, node_id
        self.prompts = lines(values.get("sample_prompts", ""))
        self.pictures: list[Image.Image] = []
        self.told: list[str] = []
        self._live = LiveCurve()
        self._bar: Bar | None = None

    def say(self, text: str) -> None:
        logging.info("LyCORIS: %s", printable(text))

    def note(self, text: str) -> None:
        self.say(text)
        self.told.append(text)

    def _note_once(self, text: str) -> None:
        if text not in self.told:
            self.note(text)

    @contextmanager
    def counting(
        self, what: str, unit: str, total: int | None = None
    ) -> Iterator[Callable[[int], object]]:
        done, bar = 0, Bar(total) if total else None

        def count(more: int) -> None:
            nonlocal done
            done += more
            if bar is not None:
                bar.at(done)
            show(f"{what} {done} of {total or 'all'} {unit}", self.node_id)

        yield count

    def pictures_read(self, config: TrainConfig, pictures: TrainingSet) -> None:
        pictures.captions_are_names = self._captions_are_names

    def after_step(self, run: Run, report: StepReport) -> None:
        self._bar = self._bar or Bar(run.total_steps)
        show(
            f"step {report.step} of {run.total_steps}\n"
            f"loss {report.average:.4f}  ({report.loss:.4f})",
            self.node_id,
        )
        self._live.add(run, report)
        last = report.step == run.total_steps
        self._bar.at(run.step, self._live.picture(run.paths.name, last))

    def stop_asked(self) -> bool:
        from comfy.model_management import processing_interrupted

        return bool(processing_interrupted())

    def draw(self, run: Run) -> Sequence[str]:
        if self.base.clip is None:
            self._note_once("no CLIP is connected that could read a prompt: nothing is drawn")
            return ()
        if self.base.vae is None:
            self._note_once("no VAE is connected that could decode pictures: nothing is drawn")
            return ()
        if not self.prompts and self._captions_are_names:
            self._note_once(
                "the captions are conditionings, and sample_prompts is empty: nothing is drawn"
            )
            return ()
        prompts = self.prompts or _captions(run)
        drawn, names = [], []
        with self.base.sampling():
            for number, prompt in enumerate(prompts):
                painted = draw(
                    self.base.model,
                    self.base.clip,
                    self.base.vae,
                    prompt,
                    self.config.run.seed,
                    self.drawing,
                )
                if painted.fault:
                    self.note(
                        f"{short(prompt, 60)}: no picture at step {run.step}: {painted.fault}"
                    )
                    drawn.append(crossed_out(painted.picture, "NaN"))
                    continue
                path = run.paths.sample(run.step, number)
                atomic_write(path, png(painted.picture))
                names.append(path.name)
                drawn.append(painted.picture)
        self.pictures += drawn
        self._live.show(comparison_grid([drawn], [f"step {run.step}"], prompts))
        return names


def _captions(run: Run) -> tuple[str, ...]:
    """Return a few captions as prompts; ComfyUI would read unescaped parentheses as weights."""
    chosen = caption_prompts(run.pictures)
    return tuple(text.replace("(", "\\(").replace(")", "\\)") for text in chosen)
