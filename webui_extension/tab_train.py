"""The page "Train": start, follow and stop training in a separate process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lycoris_ext.errors import LycorisExtError
from lycoris_ext.plots.curve import loss_curve
from lycoris_ext.runs.losses import read_losses
from webui_extension.laboratory import Laboratory
from webui_extension.parts import part
from webui_extension.tables import paragraph
from webui_extension.training import Training, TrainingState

_POLL_SECONDS = 2.0


def build_train(laboratory: Laboratory, training: Training) -> None:
    """Add the page's components to the open gradio tab."""
    import gradio as gr

    gr.HTML(
        paragraph(
            "Training runs outside this program, with the Python named under Settings > LyCORIS "
            "Ext. It goes on when this page is closed, and can be stopped and continued."
        )
    )
    config = part("Textbox", "config", label="Config (.toml, made by lycoris-ext init)", lines=1)
    with gr.Row():
        start = part("Button", "train", value="Start, or go on", variant="primary")
        stop = part("Button", "stop_training", value="Stop")
        follow = part("Button", "follow_training", value="Show progress")
    progress = part("HTML", "training", value=paragraph(str(training.state())))
    curve = part("Image", "training_curve", type="pil", visible=False, show_label=False)

    def begin(path: str) -> Iterator[tuple[Any, str]]:
        host = laboratory.host
        try:
            training.start(path, host.train_python(), allowed=host.may_start_programs())
        except LycorisExtError as error:
            yield gr.update(), paragraph(str(error), "bad")
            return
        yield from watch()

    def watch() -> Iterator[tuple[Any, str]]:
        state = training.state()
        while state.running:
            yield gr.update(), paragraph(str(state))
            time.sleep(_POLL_SECONDS)
            state = training.state()
        yield _picture(state), paragraph(str(state))

    start.click(begin, inputs=[config], outputs=[curve, progress])
    follow.click(watch, inputs=[], outputs=[curve, progress])
    stop.click(lambda: paragraph(str(training.stop())), inputs=[], outputs=[progress], queue=False)


def _picture(state: TrainingState) -> Any:
    import gradio as gr

    if not state.step:
        return gr.update()
    points = read_losses(Path(state.events))
    return gr.update(value=loss_curve(points, Path(state.config).stem), visible=True)
