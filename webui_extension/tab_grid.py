"""Page 2, "Test": choose what the grid shows, and draw it."""

from __future__ import annotations

from typing import Any

from lycoris_ext.errors import LycorisExtError
from lycoris_ext.grids.prompt_tests import PROMPT_TESTS
from webui_extension.asked import draw as draw_asked
from webui_extension.form import FIELDS, WRITTEN, request_of, styles_of
from webui_extension.frame import frame
from webui_extension.host_axes import ALL_AXES
from webui_extension.jobs import Job
from webui_extension.laboratory import Laboratory
from webui_extension.parts import Poll, part
from webui_extension.tab_pick import Picked
from webui_extension.tables import paragraph, table

_POLL_SECONDS = 0.5


def build_test(laboratory: Laboratory, picked: Picked, theme: Any) -> tuple[dict[str, Any], Poll]:
    """Add the page's components to the open gradio tab.

    Args:
        laboratory: draws the grid.
        picked: the components of page 1, whose values say which adapters are drawn.
        theme: the component with the host's theme.

    Returns:
        Name of a field, in the order of `form.FIELDS` -> its component; and what shows progress.
    """
    import gradio as gr

    with gr.Row():
        with gr.Column(scale=3):
            asked_for = _what_is_asked()
        with gr.Column(scale=2):
            drawn_how = _how_it_is_drawn(laboratory)
    with gr.Accordion("More settings to compare", open=False):
        more = _what_else_can_differ(laboratory)
    with gr.Row():
        draw = part("Button", "draw", value="Draw the grid", variant="primary")
        interrupt = part("Button", "interrupt", value="Interrupt")
        follow = part("Button", "follow", value="Show progress")
    progress = part("HTML", "progress", value="")
    page = part("HTML", "grid", value="")

    components = [picked.folder, picked.chosen, picked.trigger, *asked_for, *drawn_how, *more]
    fields = dict(zip(FIELDS, components, strict=True))

    def look(seconds: float, theme: str, shown: str) -> tuple[list[Any], bool]:
        job = laboratory.jobs.last
        if job is None:
            return [paragraph("No grid was drawn since the host was started."), gr.update()], False
        ended = job.ended.wait(seconds)
        # The frame is shown once: its page loads itself again while more pictures come.
        new = (ended or job.plan.id not in shown) and job.page_is_new
        framed = frame(laboratory, job.plan.id, theme) if new else gr.update()
        return [verdict(job) if ended else paragraph(str(job.progress)), framed], not ended

    poll = Poll(
        "polls_grid",
        look,
        outputs=[progress, page],
        inputs=[theme, page],
        seconds=_POLL_SECONDS,
    )

    def start(theme: str, *values: Any) -> list[Any]:
        try:
            draw_asked(laboratory, request_of(laboratory, values))
        except LycorisExtError as error:
            return [paragraph(str(error), "bad"), gr.update(), gr.update()]
        return poll.first(theme, "")

    draw.click(start, inputs=[theme, *fields.values()], outputs=poll.outputs)
    follow.click(lambda theme: poll.first(theme, ""), inputs=[theme], outputs=poll.outputs)
    interrupt.click(laboratory.jobs.interrupt, inputs=[], outputs=[], queue=False)
    return fields, poll


def _what_is_asked() -> list[Any]:
    """Make the fields for prompts, tests, negative prompts and style, in the order of FIELDS."""
    prompts = part(
        "Textbox",
        "prompts",
        label="Prompts, one per line. A line may end in --n NEGATIVE PROMPT, and may hold "
        "<lora:NAME:0.8> to add another adapter to its pictures.",
        lines=4,
    )
    tests = part(
        "CheckboxGroup",
        "tests",
        label="Ready-made prompts, which use the trigger words of page 1",
        choices=list(PROMPT_TESTS),
        value=["trigger only"],
    )
    negatives = part(
        "Textbox",
        "negatives",
        label="Negative prompts, one per line. Every prompt is drawn with each of them.",
        lines=2,
    )
    style = part(
        "Textbox",
        "style",
        label="Tag of the training pictures' style, for 'its style in the negative'",
        value="aniscreen",
    )
    return [prompts, tests, negatives, style]


def _how_it_is_drawn(laboratory: Laboratory) -> list[Any]:
    """Make the fields for strengths, seeds, models and settings, in the order of FIELDS."""
    import gradio as gr

    strengths = part(
        "Textbox",
        "strengths",
        label="Strengths, such as 0.6, 1 (0.5:1 is 0.5 in the text encoder and 1 in the U-Net)",
        value="1",
    )
    seeds = part(
        "Textbox", "seeds", label="Seeds, such as 1, 2, 5-8 (-1 is a random one)", value="1, 2"
    )
    models = part(
        "Dropdown",
        "base_models",
        label="Base models (none: the loaded one)",
        choices=laboratory.host.base_models(),
        multiselect=True,
    )
    samplers = laboratory.host.samplers()
    with gr.Row():
        steps, scale = _written("steps"), _written("cfg_scale")
    usual = "Euler a" if "Euler a" in samplers else next(iter(samplers), None)
    sampler = _listed("sampler", samplers, [usual] if usual else [])
    with gr.Row():
        skip = _written("clip_skip")
        width = part("Number", "width", label="Width", value=512, precision=0)
        height = part("Number", "height", label="Height", value=512, precision=0)
    return [strengths, seeds, models, steps, scale, sampler, skip, width, height]


def _what_else_can_differ(laboratory: Laboratory) -> list[Any]:
    """Make the fields for the host's other settings, in the order of FIELDS."""
    rest = [name for name in FIELDS[FIELDS.index("height") + 1 :] if name in ALL_AXES]
    made = [
        _written(name) if name in WRITTEN else _listed(name, laboratory.host.choices(name))
        for name in rest
    ]
    styles = part(
        "Dropdown",
        "styles",
        label="Styles",
        choices=styles_of(laboratory),
        value=[],
        multiselect=True,
    )
    return [*made, styles]


def _written(name: str) -> Any:
    """Make the field of a setting whose values are written with commas between them."""
    axis = ALL_AXES[name]
    hint = f"{axis.title} ({axis.about})" if not axis.usual else axis.title
    return part("Textbox", name, label=hint, value=axis.usual, lines=1, max_lines=1)


def _listed(name: str, choices: list[str] | None, value: list[str] | None = None) -> Any:
    """Make the field of a setting whose values the host lists; hidden if it has none."""
    return part(
        "Dropdown",
        name,
        label=ALL_AXES[name].title,
        choices=choices or [],
        value=value or [],
        multiselect=True,
        visible=choices is not None,
    )


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
    return text + "".join(map(paragraph, job.notes))
