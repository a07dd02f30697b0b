"""Register the tab, the settings, the API and the X/Y/Z axes with the host.

The host may load two copies of this extension (a git clone and one that `lycoris-ext install`
made). Only the first registers: the second finds these callbacks in the host's list.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from lycoris_ext.plots.fonts import choose_font
from webui_extension.host import RUN_FOLDERS, SECTION, TRAIN_PYTHON, WebuiHost
from webui_extension.laboratory import Laboratory
from webui_extension.training import Training


def register() -> None:
    """Add this extension's callbacks to the host, unless they are registered already."""
    from modules import script_callbacks

    registered = script_callbacks.callback_map["callbacks_ui_tabs"]
    if any(getattr(known, "callback", None) is ui_tabs for known in registered):
        return
    script_callbacks.on_ui_settings(ui_settings)
    script_callbacks.on_before_ui(before_ui)
    script_callbacks.on_ui_tabs(ui_tabs)
    script_callbacks.on_app_started(app_started)


@cache
def laboratory() -> Laboratory:
    """Return this process's only Laboratory; it and its grid survive a reload of the page."""
    host = WebuiHost()
    font = host.font()
    if font is not None:
        choose_font(font)
    return Laboratory(host)


@cache
def training() -> Training:
    """Return this process's only Training, which starts and watches the training process."""
    host = laboratory().host
    return Training(laboratory().allowed_folders, host.output_folder() / "training")


def ui_settings() -> None:
    """Add two options to the host's settings page; the host's API may not change them."""
    import gradio as gr
    from modules import shared

    shared.opts.add_option(
        RUN_FOLDERS,
        shared.OptionInfo(
            "",
            "Folders with trained adapters, one per line",
            gr.Textbox,
            {"lines": 3, **shared.hide_dirs},
            section=SECTION,
            restrict_api=True,
        ),
    )
    shared.opts.add_option(
        TRAIN_PYTHON,
        shared.OptionInfo(
            "",
            "Python of the environment that trains (with lycoris-ext[train] installed)",
            gr.Textbox,
            shared.hide_dirs,
            section=SECTION,
            restrict_api=True,
        ),
    )


def before_ui() -> None:
    """Add the X/Y/Z axes; the host calls this before the plot builds its page."""
    from webui_extension.axes import add_axes

    add_axes(laboratory())


def ui_tabs() -> list[tuple[Any, str, str]]:
    """Build the tab; return the host's list of (gradio Blocks, title, element id)."""
    from webui_extension.tab import build_tab

    return [(build_tab(laboratory(), training()), "LyCORIS Ext", "lycoris_ext")]


def app_started(demo: Any, app: Any) -> None:
    """Let gradio serve the pages of grids; with --api, add the routes to the FastAPI app."""
    from modules import shared

    from webui_extension.routes import add_routes

    if demo is not None:  # there is none with --nowebui
        grids = str(laboratory().host.output_folder().absolute() / "grids")
        demo.allowed_paths = [*(getattr(demo, "allowed_paths", None) or []), grids]
    if laboratory().host.has_api():
        add_routes(app, laboratory(), training(), shared.cmd_opts.api_auth)
