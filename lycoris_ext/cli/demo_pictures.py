"""What the demo asks for, draws and has judged: held-out subjects, without and with the adapter."""

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
    """How much is drawn; training is described by demo.toml.

    Args:
        output_dir: where everything goes; what an earlier demo left there is replaced.
        device: "auto" or a torch device.
        shown: rows of the grid: seeds 0 to shown - 1, none left out.
        judged: prompts of each kind that the judges see, at least `shown`.
        strengths: columns of the grid; the last is judged.
        sampling_steps, cfg_scale, sampler: how pictures are drawn.
        overrides: options of training in place of demo.toml's.
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
class Asked:
    """What is asked for: held-out subjects in the learned style, and the same in base styles.

    Args:
        learned: prompts of the learned style.
        base: the same subjects and tags in the base's own styles, by turns.
    """

    learned: tuple[Prompt, ...]
    base: tuple[Prompt, ...]

    def specs(self, settings: DemoSettings) -> list[PromptSpec]:
        """One spec a prompt, first those of the learned style; the seed is the prompt's number."""
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


def ask_for(count: int) -> Asked:
    """Choose prompts: every held-out subject in turn, with tags that chance decides."""
    every = held_out_prompts()
    learned = held_out_prompts(per_subject=-(-count // len(every)))[:count]
    return Asked(
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
    asked: Asked, adapter: Path, settings: DemoSettings
) -> tuple[Grid[Painted], Grid[Painted]]:
    """Draw all prompts bare and at the last strength, and the shown ones at the others, too.

    Returns:
        (the grid that is shown, the grid that is judged: two columns, first the rows of the
        learned style, then those of the base's own styles).
    """
    device = choose_device(settings.device)
    pipeline = load_pipeline(ModelConfig(), device, torch.float32)
    rows = tuple(row_of(spec, pipeline) for spec in asked.specs(settings))
    columns = columns_of([AdapterUse(adapter)], settings.strengths)
    store, plans = MemoryStore(), [GridPlan(rows, (columns[0], columns[-1]))]
    plans.append(GridPlan(rows[: settings.shown], columns))
    grids = []
    for plan, label in zip(plans, ("drawing", "drawing the strengths between"), strict=True):
        with progress_bar(label) as progress:
            grids.append(draw_grid(plan, PipelinePainter(pipeline, 24, progress), store))
    judged, shown = grids
    return shown, judged


def demo_grid(asked: Asked, shown: Grid[Painted], settings: DemoSettings) -> Image.Image:
    """Lay out the first prompts: every strength, and a real drawing beside them."""
    real = [real_picture(prompt).image for prompt in asked.learned[: settings.shown]]
    return grid_picture(
        shown,
        title=f'"by {LEARNED_STYLE}": subjects that the adapter was never shown in it',
        about="LoHa dim 8, conv dim 4, alpha 1; seeds in order, none left out",
        beside={"a real drawing": real},
        blocks=2,
    )


def judge_all(asked: Asked, grid: Grid[Painted]) -> StyleReport:
    """Ask both judges about all pictures, and score their answers."""
    plan, count = grid.plan, len(asked.learned)

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
        learned_before=judged(0, 0, asked.learned),
        learned_after=judged(1, 0, asked.learned),
        base_before=judged(0, count, asked.base),
        base_after=judged(1, count, asked.base),
    )
