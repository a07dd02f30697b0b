"""Page 1: a run's checkpoints, what they say of themselves, and what this host makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image

from lycoris_ext.errors import LycorisExtError
from lycoris_ext.grids.checkpoints import Checkpoint
from lycoris_ext.plots.curve import loss_curve
from lycoris_ext.runs.losses import read_losses
from webui_extension.asked import trigger_of
from webui_extension.laboratory import Laboratory
from webui_extension.parts import label, part, shown
from webui_extension.tables import metadata_table, paragraph, run_table, verdict_table


@dataclass(frozen=True)
class Picked:
    """The components that the other pages read.

    Args:
        folder: the run's folder, as text.
        chosen: labels of the checkpoints that are ticked.
        trigger: the words that call what was trained.
    """

    folder: Any
    chosen: Any
    trigger: Any


def build_pick(laboratory: Laboratory) -> Picked:
    """Build the page."""
    import gradio as gr

    with gr.Row():
        runs = part("Dropdown", "runs", label="Run", scale=4, **_runs(laboratory))
        refresh = part("Button", "refresh", value="Look for runs", scale=1)
    with gr.Row():
        folder = part("Textbox", "folder", label="or a folder, or a file", lines=1, scale=4)
        listed = part("Button", "list", value="List", variant="primary", scale=1)
    said = part("HTML", "run_table", value="")
    chosen = part("CheckboxGroup", "chosen", label="Checkpoints to test", choices=[])
    trigger = part("Textbox", "trigger", label="Trigger words", lines=1)
    with gr.Row():
        checked = part("Button", "check", value="Check against this host")
        told = part("Button", "metadata", value="Show metadata of the first")
        curve = part("Button", "curve", value="Show the training curve")
    verdicts = part("HTML", "verdicts", value="")
    picture = part("Image", "curve_picture", type="pil", visible=False, show_label=False)

    @shown(4)
    def list_folder(text: str) -> tuple[Any, Any, Any, str]:
        run = laboratory.pick(text)
        labels = [label(known) for known in run.checkpoints]
        words = trigger_of(run.checkpoints)
        return (
            gr.update(value=str(text)),
            gr.update(choices=labels, value=labels),
            gr.update(value=words),
            run_table(run),
        )

    @shown(1)
    def check(text: str, labels: list[str]) -> str:
        return verdict_table([_verdict(laboratory, c) for c in chosen_of(laboratory, text, labels)])

    @shown(1)
    def metadata(text: str, labels: list[str]) -> str:
        known = chosen_of(laboratory, text, labels)
        return metadata_table(known[0]) if known else paragraph("Tick a checkpoint first.")

    @shown(2)
    def draw_curve(text: str) -> tuple[Any, str]:
        return gr.update(value=_curve(laboratory, text), visible=True), ""

    refresh.click(lambda: gr.update(**_runs(laboratory)), inputs=[], outputs=[runs], queue=False)
    outputs = [folder, chosen, trigger, said]
    runs.change(list_folder, inputs=[runs], outputs=outputs)
    listed.click(list_folder, inputs=[folder], outputs=outputs)
    checked.click(check, inputs=[folder, chosen], outputs=[verdicts])
    told.click(metadata, inputs=[folder, chosen], outputs=[verdicts])
    curve.click(draw_curve, inputs=[folder], outputs=[picture, verdicts])
    return Picked(folder, chosen, trigger)


def chosen_of(laboratory: Laboratory, folder: str, labels: list[str]) -> list[Checkpoint]:
    """The checkpoints that are ticked, as they are on disk now.

    Raises:
        DataError: the folder is gone, or outside the allowed ones.
    """
    if not labels:
        return []
    return [known for known in laboratory.pick(folder).checkpoints if label(known) in labels]


def _runs(laboratory: Laboratory) -> dict[str, Any]:
    """The choices of a dropdown, and the line below its label."""
    folders, note = laboratory.runs()
    return {"choices": [str(folder) for folder in folders], "info": note}


def _verdict(laboratory: Laboratory, checkpoint: Checkpoint) -> tuple[Checkpoint, bool, str]:
    try:
        fit = laboratory.check(checkpoint)
    except LycorisExtError as error:
        return checkpoint, False, error.what
    return checkpoint, fit.works, str(fit)


def _curve(laboratory: Laboratory, folder: str) -> Image.Image | None:
    runs = laboratory.pick(folder).runs
    return loss_curve(read_losses(runs[0].events), runs[0].name) if runs else None
