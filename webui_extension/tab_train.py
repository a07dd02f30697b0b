"""The page "Train": start, follow and stop training in a separate process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lycoris_ext.errors import LycorisExtError
from lycoris_ext.plots.curve import loss_curve
from lycoris_ext.runs.losses import read_losses
from webui_extension.laboratory import Laboratory
from webui_extension.parts import Poll, part
from webui_extension.tables import paragraph
from webui_extension.training import Training, TrainingState

_POLL_SECONDS = 2.0


def build_train(laboratory: Laboratory, training: Training) -> tuple[Any, Poll]:
    """Add the page's components to the open gradio tab.

    Returns:
        The field with the config's path, and what shows progress.
    """
    import gradio as gr

    gr.HTML(
        paragraph(
            "The training runs in a program of its own, with the Python that is named under "
            "Settings > LyCORIS Ext. It goes on when this page is closed. A training that was "
            "stopped continues from its last saved state."
        )
    )
    config = part(
        "Textbox",
        "config",
        label="Path of a config (.toml), such as lycoris-ext init writes",
        lines=1,
    )
    with gr.Row():
        start = part("Button", "train", value="Start or continue", variant="primary")
        stop = part("Button", "stop_training", value="Stop")
        follow = part("Button", "follow_training", value="Show progress")
    progress = part("HTML", "training", value=paragraph(str(training.state())))
    curve = part("Image", "training_curve", type="pil", visible=False, show_label=False)

    def look(seconds: float) -> tuple[list[Any], bool]:
        if training.state().running:
            time.sleep(seconds)
        state = training.state()
        text = paragraph(str(state), "bad" if state.failed else "")
        return [gr.update() if state.running else _picture(state), text], state.running

    poll = Poll("polls_training", look, outputs=[curve, progress], seconds=_POLL_SECONDS)

    def begin(path: str) -> list[Any]:
        host = laboratory.host
        try:
            training.start(path, host.train_python(), allowed=host.may_start_programs())
        except LycorisExtError as error:
            return [gr.update(), paragraph(str(error), "bad"), gr.update()]
        return poll.first()

    start.click(begin, inputs=[config], outputs=poll.outputs)
    follow.click(poll.first, inputs=[], outputs=poll.outputs)
    stop.click(lambda: paragraph(str(training.stop())), inputs=[], outputs=[progress], queue=False)
    return config, poll


def _picture(state: TrainingState) -> Any:
    import gradio as gr

    if not state.step:
        return gr.update()
    points = read_losses(Path(state.events))
    return gr.update(value=loss_curve(points, Path(state.config).stem), visible=True)
