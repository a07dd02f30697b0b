"""The tab with its five pages: Pick, Test, Judge, Use and Train.

It uses only gradio components that work in gradio 3.41 (AUTOMATIC1111) and 4.40 (Forge).
"""

from __future__ import annotations

from typing import Any

from webui_extension.laboratory import Laboratory
from webui_extension.memory import remember
from webui_extension.parts import hidden, script
from webui_extension.tab_grid import build_test
from webui_extension.tab_judge import build_judge
from webui_extension.tab_pick import build_pick
from webui_extension.tab_train import build_train
from webui_extension.tab_use import build_use
from webui_extension.training import Training

STYLE = """<style>
table.lycoris-ext { border-collapse: collapse; width: 100%; margin: 4px 0 12px; font-size: 14px; }
table.lycoris-ext th { text-align: left; font-weight: 600; opacity: .75; white-space: nowrap; }
table.lycoris-ext th, table.lycoris-ext td { padding: 4px 14px 4px 0; vertical-align: top;
  border-bottom: 1px solid var(--border-color-primary); overflow-wrap: anywhere; }
p.lycoris-ext { margin: 4px 0; white-space: pre-wrap; }
p.lycoris-ext.bad { color: #c0392b; } p.lycoris-ext.good { color: #1e8449; }
.dark p.lycoris-ext.bad { color: #ff8a80; } .dark p.lycoris-ext.good { color: #6fcf97; }
div.lycoris-ext { overflow-x: auto; }
iframe.lycoris-ext { width: 100%; height: 78vh; border: 1px solid var(--border-color-primary);
  border-radius: 8px; }
.lycoris-ext-hidden { display: none !important; }
/* gradio dims what it waits for, which is all the time while progress is shown. */
#lycoris_ext_pages .pending { opacity: 1 !important; }
</style>"""

THEME = '() => [document.body.classList.contains("dark") ? "dark" : "light"]'
"""A script that says which theme the host shows."""


def build_tab(laboratory: Laboratory, training: Training) -> Any:
    """Build the tab and return it as gradio Blocks."""
    import gradio as gr

    with gr.Blocks(analytics_enabled=False) as blocks:
        gr.HTML(STYLE)
        theme = hidden("theme")
        with gr.Tabs(elem_id="lycoris_ext_pages"):
            with gr.Tab("1 Pick", elem_id="lycoris_ext_page_pick"):
                picked = build_pick(laboratory)
            with gr.Tab("2 Test", elem_id="lycoris_ext_page_test"):
                fields, grid = build_test(laboratory, picked, theme)
            with gr.Tab("3 Judge", elem_id="lycoris_ext_page_judge"):
                build_judge(laboratory, fields, theme)
            with gr.Tab("4 Use", elem_id="lycoris_ext_page_use"):
                build_use(laboratory, picked)
            with gr.Tab("Train", elem_id="lycoris_ext_page_train"):
                config, trained = build_train(laboratory, training)
        remember(blocks, laboratory, {**fields, "config": config})
        blocks.load(None, inputs=[], outputs=[theme], **script(THEME))
        blocks.load(
            grid.resume,
            inputs=grid.inputs,
            outputs=grid.outputs,
            queue=False,
            **script(f"(theme, page) => [...({THEME})(), page]"),
        )
        blocks.load(trained.resume, inputs=trained.inputs, outputs=trained.outputs, queue=False)
    return blocks
