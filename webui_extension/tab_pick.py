"""Page 1, "Pick": list a run's checkpoints, show their metadata and check if they fit the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image

from lycoris_ext.errors import DataError, LycorisExtError
from lycoris_ext.grids.checkpoints import Checkpoint
from lycoris_ext.plots.curve import loss_curve
from lycoris_ext.runs.losses import read_losses
from webui_extension.asked import trigger_of
from webui_extension.laboratory import Laboratory
from webui_extension.parts import label, part, shown
from webui_extension.tables import metadata_table, paragraph, run_table, verdict_table


@dataclass(frozen=True)
class Picked:
    """The gradio components of page 1 whose values the other pages read.

    Args:
        folder: the text box with the run's folder.
        chosen: the check boxes, labelled by `parts.label`, of the checkpoints to test.
        trigger: the text box with the trigger words.
    """

    folder: Any
    chosen: Any
    trigger: Any


def build_pick(laboratory: Laboratory) -> Picked:
    """Add the page's components to the open gradio tab; return those that other pages read."""
    import gradio as gr

    with gr.Row():
        runs = part(
            "Dropdown",
            "runs",
            label="Run: a folder with the checkpoints of one training",
            scale=4,
            **_runs(laboratory),
        )
        refresh = part("Button", "refresh", value="Look for runs", scale=1)
    with gr.Row():
        folder = part(
            "Textbox",
            "folder",
            label="Or type the path of a folder or of one adapter",
            lines=1,
            scale=4,
        )
        listed = part("Button", "list", value="List the checkpoints", variant="primary", scale=1)
    files = part("HTML", "run_table", value="")
    chosen = part("CheckboxGroup", "chosen", label="Checkpoints to test", choices=[])
    trigger = part("Textbox", "trigger", label="Trigger words", lines=1)
    with gr.Row():
        checked = part("Button", "check", value="Check if they fit the loaded model")
        shows_metadata = part("Button", "metadata", value="Show the metadata of the first one")
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
        return metadata_table(known[0]) if known else paragraph("Tick a checkpoint first.", "bad")

    @shown(2)
    def draw_curve(text: str) -> tuple[Any, str]:
        return gr.update(value=_curve(laboratory, text), visible=True), ""

    refresh.click(lambda: gr.update(**_runs(laboratory)), inputs=[], outputs=[runs], queue=False)
    outputs = [folder, chosen, trigger, files]
    runs.change(list_folder, inputs=[runs], outputs=outputs)
    listed.click(list_folder, inputs=[folder], outputs=outputs)
    checked.click(check, inputs=[folder, chosen], outputs=[verdicts])
    shows_metadata.click(metadata, inputs=[folder, chosen], outputs=[verdicts])
    curve.click(draw_curve, inputs=[folder], outputs=[picture, verdicts])
    return Picked(folder, chosen, trigger)


def chosen_of(laboratory: Laboratory, folder: str, labels: list[str]) -> list[Checkpoint]:
    """Read the ticked checkpoints of a folder again from the disk.

    Args:
        laboratory: reads the folder.
        folder: the run's folder.
        labels: the ticked labels, as `parts.label` makes them.

    Raises:
        DataError: the folder is gone, or outside the allowed folders.
    """
    if not labels:
        return []
    return [known for known in laboratory.pick(folder).checkpoints if label(known) in labels]


def _runs(laboratory: Laboratory) -> dict[str, Any]:
    """Return the choices of the dropdown of runs, and the note below its label."""
    folders, note = laboratory.runs()
    return {"choices": [str(folder) for folder in folders], "info": note}


def _verdict(laboratory: Laboratory, checkpoint: Checkpoint) -> tuple[Checkpoint, bool, str]:
    try:
        fit = laboratory.check(checkpoint)
    except LycorisExtError as error:
        return checkpoint, False, error.what
    return checkpoint, fit.works, str(fit)


def _curve(laboratory: Laboratory, folder: str) -> Image.Image:
    runs = laboratory.pick(folder).runs
    if not runs:
        raise DataError(
            "this folder has no record of a training (NAME.events.jsonl)",
            where=folder,
            fix="choose the folder in which lycoris-ext train wrote its checkpoints",
        )
    return loss_curve(read_losses(runs[0].events), runs[0].name)
