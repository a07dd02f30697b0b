"""Page 2, "Test": choose what the grid shows, and draw it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lycoris_ext.errors import LycorisExtError
from lycoris_ext.grids.plan import parse_seeds
from lycoris_ext.grids.prompt_tests import PROMPT_TESTS
from webui_extension.asked import draw as draw_asked
from webui_extension.jobs import Job
from webui_extension.laboratory import Laboratory
from webui_extension.parts import number, part
from webui_extension.tab_pick import Picked, chosen_of
from webui_extension.tables import paragraph, table

_POLL_SECONDS = 0.5


def build_test(laboratory: Laboratory, picked: Picked) -> None:
    """Add the page's components to the open gradio tab.

    Args:
        laboratory: draws the grid.
        picked: the components of page 1, whose values say which adapters are drawn.
    """
    import gradio as gr

    with gr.Row():
        with gr.Column(scale=3):
            asked_for = _what_is_asked()
        with gr.Column(scale=2):
            drawn_how = _how_it_is_drawn(laboratory)
    with gr.Row():
        draw = part("Button", "draw", value="Draw the grid", variant="primary")
        interrupt = part("Button", "interrupt", value="Interrupt")
        follow = part("Button", "follow", value="Show progress")
    progress = part("HTML", "progress", value="")
    grid = part("Image", "grid", type="filepath", visible=False, show_label=False)

    fields = [picked.folder, picked.chosen, picked.trigger, *asked_for, *drawn_how]

    def start(*values: Any) -> Iterator[tuple[Any, str]]:
        try:
            job = draw_asked(laboratory, _asked(laboratory, *values))
        except LycorisExtError as error:
            yield gr.update(), paragraph(str(error), "bad")
            return
        yield from watch(job)

    def again() -> Iterator[tuple[Any, str]]:
        if laboratory.jobs.last is None:
            yield gr.update(), paragraph("No grid was drawn since the host was started.")
        else:
            yield from watch(laboratory.jobs.last)

    def watch(job: Job) -> Iterator[tuple[Any, str]]:
        while job.state == "running":
            yield gr.update(), paragraph(str(job.progress))
            job.ended.wait(_POLL_SECONDS)
        written = (job.folder / "grid.png").is_file() and job.grid.cells
        picture = gr.update(value=str(job.folder / "grid.png"), visible=True) if written else None
        yield picture or gr.update(), verdict(job)

    draw.click(start, inputs=fields, outputs=[grid, progress])
    follow.click(again, inputs=[], outputs=[grid, progress])
    interrupt.click(laboratory.jobs.interrupt, inputs=[], outputs=[], queue=False)


def _what_is_asked() -> list[Any]:
    """Make the fields for prompts, tests, negative prompts and style, in the order of `_asked`."""
    prompts = part(
        "Textbox",
        "prompts",
        label="Prompts, one per line; a line may end in --n and its negative prompt",
        lines=4,
    )
    tests = part(
        "CheckboxGroup",
        "tests",
        label="Prompt tests, which use the trigger words of page 1",
        choices=list(PROMPT_TESTS),
        value=["trigger only"],
    )
    negatives = part(
        "Textbox", "negatives", label="Negative prompts, one per line; each adds rows", lines=2
    )
    style = part(
        "Textbox",
        "style",
        label="Tag of the training pictures' usual style, for the prompt tests",
        value="aniscreen",
    )
    return [prompts, tests, negatives, style]


def _how_it_is_drawn(laboratory: Laboratory) -> list[Any]:
    """Make the fields for strengths, seeds, models and settings, in the order of `_asked`."""
    import gradio as gr

    strengths = part(
        "Textbox", "strengths", label="Strengths (0.5:1 = text encoder:U-Net)", value="1"
    )
    seeds = part("Textbox", "seeds", label="Seeds", value="1, 2")
    models = part(
        "Dropdown",
        "base_models",
        label="Base models; leave empty for the loaded one",
        choices=laboratory.host.base_models(),
        multiselect=True,
    )
    samplers = laboratory.host.samplers()
    sampler = part(
        "Dropdown",
        "sampler",
        label="Sampler",
        choices=samplers,
        value="Euler a" if "Euler a" in samplers else next(iter(samplers), None),
    )
    with gr.Row():
        steps = part("Number", "steps", label="Steps", value=20, precision=0)
        scale = part("Number", "cfg_scale", label="CFG scale", value=7)
        skip = part("Number", "clip_skip", label="Clip skip", value=1, precision=0)
    with gr.Row():
        width = part("Number", "width", label="Width", value=512, precision=0)
        height = part("Number", "height", label="Height", value=512, precision=0)
    return [strengths, seeds, models, sampler, steps, scale, skip, width, height]


def verdict(job: Job) -> str:
    """Return HTML that says how a grid ended and which pictures did not use their adapter."""
    if job.state == "failed":
        return paragraph(job.problem, "bad")
    faults = job.grid.faults
    word = f"{job.state}: {job.progress}"
    if job.state == "interrupted":
        word += "; draw it again to continue, finished pictures are kept"
    text = paragraph(word, "" if faults else "good")
    if faults:
        text += paragraph("These pictures are wrong and crossed out in the grid:", "bad")
        text += table(("column",), [(fault,) for fault in faults])
    return text


def _asked(
    laboratory: Laboratory,
    folder: str,
    labels: list[str],
    trigger: str,
    prompts: str,
    tests: list[str],
    negatives: str,
    style: str,
    strengths: str,
    seeds: str,
    models: list[str] | None,
    sampler: str,
    steps: float | None,
    scale: float | None,
    skip: float | None,
    width: float | None,
    height: float | None,
) -> dict[str, Any]:
    """Turn the values of the page's fields into a `schemas.GRID` request."""
    return {
        "files": [str(known.path) for known in chosen_of(laboratory, folder, labels or [])],
        "prompts": prompts.splitlines(),
        "tests": tests or [],
        "trigger": trigger,
        "style": style,
        "strengths": [each for each in strengths.replace(",", " ").split() if each] or ["1"],
        "seeds": list(parse_seeds(seeds)),
        "base_models": models or [],
        "negative_prompts": [line.strip() for line in negatives.splitlines() if line.strip()]
        or [""],
        "sampler": sampler,
        "steps": int(number("Steps", steps)),
        "cfg_scale": number("CFG scale", scale),
        "clip_skip": int(number("Clip skip", skip)),
        "width": int(number("Width", width)),
        "height": int(number("Height", height)),
    }
