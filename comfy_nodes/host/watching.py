"""A training run as its node shows it."""

from __future__ import annotations

import logging
from typing import Any

from PIL import Image

from lycoris_ext.formats import atomic_write
from lycoris_ext.plots.grid import comparison_grid
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.hosted import Watcher
from lycoris_ext.training.run import Run

from .base_model import ConnectedModel
from .drawing import Drawing, draw
from .images import png
from .status import Bar, show
from .widgets import lines

CAPTIONS_SHOWN = 4


class NodeWatcher(Watcher):
    """Progress bar, loss and pictures on the node; Cancel.

    Args:
        base: what is trained on.
        config: of the run.
        drawing: how its pictures are drawn.
        node_id: of the node.
        values: of the node's inputs: the prompts.
    """

    def __init__(
        self,
        base: ConnectedModel,
        config: TrainConfig,
        drawing: Drawing,
        node_id: str | None,
        values: dict[str, Any],
    ) -> None:
        self.base, self.config, self.drawing, self.node_id = base, config, drawing, node_id
        self.prompts = lines(values.get("sample_prompts", ""))
        self.pictures: list[Image.Image] = []
        self._shown: Image.Image | None = None
        self._bar: Bar | None = None
        self._average: float | None = None

    def note(self, text: str) -> None:
        logging.info("LyCORIS: %s", text)

    def progress(self, what: str, done: int, total: int) -> None:
        Bar(total).at(done)
        show(f"{what} {done} of {total} pictures", self.node_id)

    def after_step(self, run: Run, loss: float) -> None:
        self._average = loss if self._average is None else 0.95 * self._average + 0.05 * loss
        self._bar = self._bar or Bar(run.total_steps)
        show(
            f"step {run.step} of {run.total_steps}\nloss {self._average:.4f}  ({loss:.4f})",
            self.node_id,
        )
        self._bar.at(run.step, self._shown)
        self._shown = None

    def stop_asked(self) -> bool:
        from comfy.model_management import processing_interrupted

        return bool(processing_interrupted())

    def draw(self, run: Run) -> None:
        if self.base.clip is None:
            return self.note("no CLIP is connected that could read a prompt: nothing is drawn")
        prompts = self.prompts or _captions(run)
        drawn = []
        with self.base.sampling():
            for number, prompt in enumerate(prompts):
                picture = draw(
                    self.base.model,
                    self.base.clip,
                    self.base.vae,
                    prompt,
                    self.config.run.seed,
                    self.drawing,
                )
                atomic_write(run.paths.sample(run.step, number), png(picture))
                drawn.append(picture)
        self.pictures += drawn
        self._shown = comparison_grid([drawn], [f"step {run.step}"], prompts)


def _captions(run: Run) -> tuple[str, ...]:
    """A few captions as prompts: their parentheses are letters."""
    captions = list(dict.fromkeys(p.caption.split("\n")[0] for p in run.training_set.pictures))
    chosen = captions[:: max(1, len(captions) // CAPTIONS_SHOWN)][:CAPTIONS_SHOWN]
    return tuple(text.replace("(", "\\(").replace(")", "\\)") for text in chosen)
