"""What the demo asks for, draws and has judged: held-out subjects, without and with the adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image

from lycoris_ext.mini import BASE_STYLES, LEARNED_STYLE, Prompt, held_out_prompts, real_picture
from lycoris_ext.mini.judges import style_judge, subject_judge
from lycoris_ext.mini.style_report import StyleReport, StyleSamples, score_style
from lycoris_ext.models import ModelConfig, load_pipeline
from lycoris_ext.plots.grid import comparison_grid
from lycoris_ext.sampling import AdapterUse, Column, PromptSpec, draw_columns, progress_bar
from lycoris_ext.sampling.compare import BARE
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


#: Pictures by strength; strength 0 is the bare base.
Drawings = dict[float, list[Image.Image]]


def draw_all(asked: Asked, adapter: Path, settings: DemoSettings) -> tuple[Drawings, Drawings]:
    """Draw all prompts bare and at the last strength, and the shown ones at the others, too."""
    device = choose_device(settings.device)
    pipeline = load_pipeline(ModelConfig(), device, torch.float32)
    specs, count = asked.specs(settings), len(asked.learned)
    full = settings.strengths[-1]
    between = settings.strengths[:-1]

    def column(strength: float) -> Column:
        return Column(f"strength {strength:g}", (AdapterUse(adapter, strength),))

    steps = settings.sampling_steps
    total = (2 * len(specs) + len(between) * settings.shown) * steps
    first = 2 * len(specs) * steps
    with progress_bar("drawing") as progress:
        ends = draw_columns(
            pipeline,
            specs,
            [Column(BARE), column(full)],
            batch_size=24,
            progress=lambda done, _: progress(done, total),
        )
        rest = draw_columns(
            pipeline,
            specs[: settings.shown],
            [column(strength) for strength in between],
            batch_size=24,
            progress=lambda done, _: progress(first + done, total),
        )
    pictures = [[drawn.picture for drawn in row] for row in ends]
    learned: Drawings = {0.0: [row[0] for row in pictures[:count]]}
    for index, strength in enumerate(between):
        learned[strength] = [row[index].picture for row in rest]
    learned[full] = [row[1] for row in pictures[:count]]
    base = {0.0: [row[0] for row in pictures[count:]], full: [row[1] for row in pictures[count:]]}
    return learned, base


def demo_grid(asked: Asked, learned: Drawings, settings: DemoSettings) -> Image.Image:
    """Lay out the first prompts: every strength, and a real drawing beside them."""
    shown = asked.learned[: settings.shown]
    columns = [*learned.values(), [real_picture(prompt).image for prompt in shown]]
    rows = [
        list(row) for row in zip(*(column[: settings.shown] for column in columns), strict=True)
    ]
    headings = [BARE, *(f"strength {strength:g}" for strength in settings.strengths)]
    return comparison_grid(
        rows,
        [prompt.caption for prompt in shown],
        [*headings, "a real drawing"],
        title=f'"by {LEARNED_STYLE}": subjects that the adapter was never shown in it',
        subtitle=(
            f"LoHa dim 8, conv dim 4, alpha 1; seeds 0 to {settings.shown - 1} in order, none left "
            f"out; {settings.sampler}, {settings.sampling_steps} steps, CFG {settings.cfg_scale:g}"
        ),
        blocks=2,
        groups=(1, len(headings)),
    )


def judge_all(asked: Asked, learned: Drawings, base: Drawings) -> StyleReport:
    """Ask both judges about all pictures, and score their answers."""
    full = max(base)

    def judged(pictures: Sequence[Image.Image], wanted: Sequence[Prompt]) -> StyleSamples:
        return StyleSamples(
            styles=style_judge(pictures),
            subjects=subject_judge(pictures),
            wanted_styles=[prompt.style for prompt in wanted],
            wanted_subjects=[prompt.subject for prompt in wanted],
        )

    return score_style(
        learned_before=judged(learned[0.0], asked.learned),
        learned_after=judged(learned[full], asked.learned),
        base_before=judged(base[0.0], asked.base),
        base_after=judged(base[full], asked.base),
    )
