"""The demo's pictures: choose the prompts, draw them without and with the LoHa, and judge them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image

from lycoris_ext.grids.cells import MemoryStore, Painted
from lycoris_ext.grids.draw import Grid, draw_grid
from lycoris_ext.grids.output import grid_picture
from lycoris_ext.grids.pipeline_painter import PipelinePainter, columns_of, row_of
from lycoris_ext.grids.plan import Cell, GridPlan
from lycoris_ext.mini import BASE_STYLES, LEARNED_STYLE, Prompt, held_out_prompts, real_picture
from lycoris_ext.mini.judges import style_judge, subject_judge
from lycoris_ext.mini.style_report import StyleReport, StyleSamples, score_style
from lycoris_ext.models import ModelConfig, load_pipeline
from lycoris_ext.sampling.adapters import AdapterUse
from lycoris_ext.sampling.progress import progress_bar
from lycoris_ext.sampling.specs import PromptSpec
from lycoris_ext.training.precision import choose_device

SHOWN = 24


@dataclass(frozen=True)
class DemoSettings:
    """The demo's settings for drawing and judging; demo.toml holds those for training.

    Args:
        output_dir: folder for all results; files of an earlier demo are replaced.
        device: "auto" or the name of a torch device.
        shown: number of rows in the grid; their seeds are 0 to shown - 1.
        judged: number of prompts that are judged in the learned style and in other styles each;
            at least `shown`.
        strengths: adapter strengths, the columns of the grid; the last one is judged.
        sampling_steps, cfg_scale, sampler: see `PromptSpec`.
        overrides: (option, value) pairs that replace training options of demo.toml.
    """

    output_dir: Path
    device: str = "auto"
    shown: int = SHOWN
    judged: int = 2 * SHOWN
    strengths: tuple[float, ...] = (0.5, 0.75, 1.0)
    sampling_steps: int = 12
    cfg_scale: float = 4.0
    sampler: str = "Euler"
    overrides: tuple[tuple[str, object], ...] = ()


@dataclass(frozen=True)
class DemoPrompts:
    """The demo's prompts, for subjects that the training pictures do not show.

    Args:
        learned: prompts that ask for the learned style.
        base: the same prompts, but they ask for the base model's own styles, alternating.
    """

    learned: tuple[Prompt, ...]
    base: tuple[Prompt, ...]

    def specs(self, settings: DemoSettings) -> list[PromptSpec]:
        """Return one spec per prompt, first for `learned`, then for `base`.

        The seed is the prompt's index, so both prompts of a subject start from the same noise.
        """
        return [
            PromptSpec(
                prompt.caption,
                seed=number,
                steps=settings.sampling_steps,
                cfg_scale=settings.cfg_scale,
                sampler=settings.sampler,
            )
            for prompts in (self.learned, self.base)
            for number, prompt in enumerate(prompts)
        ]


def choose_prompts(count: int) -> DemoPrompts:
    """Return `count` prompts in the learned style, and the same ones in the base model's styles.

    They cycle through the subjects; colours and backgrounds are random with fixed seeds.
    """
    every = held_out_prompts()
    learned = held_out_prompts(per_subject=-(-count // len(every)))[:count]
    return DemoPrompts(
        tuple(learned),
        tuple(
            _in_style(prompt, BASE_STYLES[number % len(BASE_STYLES)])
            for number, prompt in enumerate(learned)
        ),
    )


def _in_style(prompt: Prompt, style: str) -> Prompt:
    caption = prompt.caption.replace(f"by {prompt.style}", f"by {style}", 1)
    return replace(prompt, caption=caption, style=style)


def draw_all(
    prompts: DemoPrompts, adapter: Path, settings: DemoSettings
) -> tuple[Grid[Painted], Grid[Painted]]:
    """Draw all prompts without adapter and at the last strength, and some at all strengths.

    Returns:
        The grid to show (`settings.shown` rows, a column per strength), and the grid to judge (two
        columns: without adapter and at the last strength; first the rows of the learned style,
        then those of the base model's styles).
    """
    device = choose_device(settings.device)
    pipeline = load_pipeline(ModelConfig(), device, torch.float32)
    rows = tuple(row_of(spec, pipeline) for spec in prompts.specs(settings))
    columns = columns_of([AdapterUse(adapter)], settings.strengths)
    store, plans = MemoryStore(), [GridPlan(rows, (columns[0], columns[-1]))]
    plans.append(GridPlan(rows[: settings.shown], columns))
    grids = []
    for plan, label in zip(plans, ("drawing", "drawing the strengths between"), strict=True):
        with progress_bar(label) as progress:
            grids.append(draw_grid(plan, PipelinePainter(pipeline, 24, progress), store))
    judged, shown = grids
    return shown, judged


def demo_grid(prompts: DemoPrompts, shown: Grid[Painted], settings: DemoSettings) -> Image.Image:
    """Return the shown grid as one picture, with a real drawing of each prompt at the right."""
    real = [real_picture(prompt).image for prompt in prompts.learned[: settings.shown]]
    return grid_picture(
        shown,
        title=f'"by {LEARNED_STYLE}": subjects that the adapter was not trained on',
        about="LoHa dim 8, conv dim 4, alpha 1; seeds in order, none left out",
        beside={"a real drawing": real},
        blocks=2,
    )


def judge_all(prompts: DemoPrompts, grid: Grid[Painted]) -> StyleReport:
    """Let the style judge and the subject judge classify pictures without and with the adapter.

    Args:
        prompts: what the rows were drawn with.
        grid: the second result of `draw_all`: columns without and with the adapter; rows of the
            learned style, then of the base model's styles.

    Returns:
        The shares of pictures in which the judges find the style and the subject asked for.
    """
    plan, count = grid.plan, len(prompts.learned)

    def judged(column: int, first: int, wanted: Sequence[Prompt]) -> StyleSamples:
        cells = [Cell(row, plan.columns[column]) for row in plan.rows[first : first + count]]
        pictures = [grid.cells[cell].picture for cell in cells]
        return StyleSamples(
            styles=style_judge(pictures),
            subjects=subject_judge(pictures),
            wanted_styles=[prompt.style for prompt in wanted],
            wanted_subjects=[prompt.subject for prompt in wanted],
        )

    return score_style(
        learned_before=judged(0, 0, prompts.learned),
        learned_after=judged(1, 0, prompts.learned),
        base_before=judged(0, count, prompts.base),
        base_after=judged(1, count, prompts.base),
    )
