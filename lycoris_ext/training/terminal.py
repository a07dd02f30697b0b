"""Training in a terminal: progress bars, Ctrl-C, and pictures drawn with our own pipeline."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOBase
from pathlib import Path

from tqdm import tqdm

from lycoris_ext.data import TrainingSet
from lycoris_ext.plots.png import save_picture
from lycoris_ext.printable import printable
from lycoris_ext.sampling.infotext import infotext
from lycoris_ext.sampling.progress import bar_options
from lycoris_ext.sampling.sample import sample_each
from lycoris_ext.sampling.specs import PromptSpec
from lycoris_ext.streams import lasting_streams
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.interrupt import listen_for_stop
from lycoris_ext.training.memory import keep_freed_memory
from lycoris_ext.training.pipeline_base import PipelineBase
from lycoris_ext.training.preview_specs import preview_specs
from lycoris_ext.training.report import StepReport
from lycoris_ext.training.run import Run
from lycoris_ext.training.train import train
from lycoris_ext.training.watcher import Watcher
from lycoris_ext.words import short


@dataclass(frozen=True)
class Telling:
    """How much a terminal tells of a run.

    Args:
        progress: where bars and lines about the progress go; None is stderr. Notes and errors are
            on stderr in any case.
        each_step: tell the numbers of each step in a line of its own.
    """

    progress: TextIOBase | None = None
    each_step: bool = False


def train_in_terminal(config: TrainConfig, telling: Telling = Telling()) -> Path:
    """Train on the base model that a config names, and show progress on stderr.

    Args:
        config: of the run; a run of the same output_dir and output_name is continued.
        telling: how much is shown.

    Returns:
        Path of the adapter file.

    Raises:
        The errors of ``train``; RunInterrupted after Ctrl-C.
    """
    keep_freed_memory()
    base = PipelineBase(config)
    with lasting_streams():  # a log that cannot be written ends no training
        return train(config, base, Terminal(base, telling))


class Terminal(Watcher):
    """A watcher that shows a run on stderr, stops it at Ctrl-C, and draws its pictures.

    Args:
        base: the base model, whose pipeline draws the pictures.
        telling: how much is shown.
    """

    def __init__(self, base: PipelineBase, telling: Telling = Telling()) -> None:
        self.base, self.telling = base, telling
        self.specs: list[PromptSpec] = []
        self._shown: dict[str, str] = {}

    def say(self, text: str) -> None:
        # Keeps progress bars intact.
        tqdm.write(printable(text), file=self.telling.progress or sys.stderr)

    def note(self, text: str) -> None:
        tqdm.write(printable(f"note: {text}"), file=sys.stderr)

    @contextmanager
    def counting(
        self, what: str, unit: str, total: int | None = None
    ) -> Iterator[Callable[[int], object]]:
        options = {"leave": what == "encoding", **bar_options(self.telling.progress)}
        with tqdm(desc=what, unit=f" {unit}", total=total, **options) as bar:
            yield bar.update

    def pictures_read(self, config: TrainConfig, pictures: TrainingSet) -> None:
        self.specs = preview_specs(config, pictures)
        self.say(f"base model: {config.model.pretrained_model_name_or_path}")

    @contextmanager
    def watching(self, run: Run) -> Iterator[None]:
        bar = tqdm(
            total=run.total_steps,
            initial=run.step,
            desc="training",
            unit=" steps",
            **bar_options(self.telling.progress),
        )
        with bar, listen_for_stop() as self._stop:
            self._bar = bar
            yield

    def after_step(self, run: Run, report: StepReport) -> None:
        self._bar.update()
        self._shown["loss"] = f"{report.average:.4f}"
        if report.true_rates:
            rates = sorted({f"{rate:.2g}" for rate in report.true_rates.values()})
            self._shown["rate"] = "/".join(rates)
        self._bar.set_postfix(self._shown, refresh=False)
        if self.telling.each_step:
            norm = "overflowed" if report.norm is None else f"{report.norm:.4g}"
            of_groups = ", ".join(f"{name} {rate:.4g}" for name, rate in report.rates.items())
            self.say(
                f"step {report.step}: loss {report.loss:.6g}, gradient norm {norm}, "
                f"rates {of_groups}"
            )

    def after_validation(self, run: Run, losses: Mapping[str, float]) -> None:
        mean = next((x for name, x in losses.items() if name.endswith("_average")), math.nan)
        self._shown["val_avg_loss"] = f"{mean:.4f}"
        self._bar.set_postfix(self._shown)

    def stop_asked(self) -> bool:
        return self._stop.asked

    def draw(self, run: Run) -> Sequence[str]:
        pipeline, clip_skip = self.base.pipeline, run.config.model.clip_skip
        with tqdm(
            desc="drawing", unit=" steps", leave=False, **bar_options(self.telling.progress)
        ) as bar:

            def progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            drawn = sample_each(pipeline, self.specs, clip_skip=clip_skip, progress=progress)
        names = []
        for number, (spec, each) in enumerate(zip(self.specs, drawn, strict=True)):
            if each.fault:
                self.note(f"{short(spec.prompt, 60)}: no picture at step {run.step}: {each.fault}")
                continue
            text = infotext(
                spec,
                each.picture.size,
                model_name=pipeline.name,
                model_hash=pipeline.base_hash(),
                clip_skip=clip_skip,
            )
            names.append(save_picture(run.paths.sample(run.step, number), each.picture, text).name)
        return names
