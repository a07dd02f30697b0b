"""What the host calls: registered once for every load of its scripts.

Two copies of this extension (a clone and one that `lycoris-ext install` made) load once: the second
finds the first one's callbacks in the host's list.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from lycoris_ext.plots.fonts import choose_font
from webui_extension.host import RUN_FOLDERS, SECTION, TRAIN_PYTHON, WebuiHost
from webui_extension.laboratory import Laboratory
from webui_extension.training import Training


def register() -> None:
    """Register everything, unless it is there already."""
    from modules import script_callbacks

    there = script_callbacks.callback_map["callbacks_ui_tabs"]
    if any(getattr(known, "callback", None) is ui_tabs for known in there):
        return
    script_callbacks.on_ui_settings(ui_settings)
    script_callbacks.on_before_ui(before_ui)
    script_callbacks.on_ui_tabs(ui_tabs)
    script_callbacks.on_app_started(app_started)


@cache
def laboratory() -> Laboratory:
    """The one laboratory: reloading the page or the scripts leaves it, and what it draws, alone."""
    host = WebuiHost()
    font = host.font()
    if font is not None:
        choose_font(font)
    return Laboratory(host)


@cache
def training() -> Training:
    """The one place where training is started from."""
    host = laboratory().host
    return Training(laboratory().places, host.output_folder() / "training")


def ui_settings() -> None:
    """Two settings, neither of which the API may change."""
    import gradio as gr
    from modules import shared

    shared.opts.add_option(
        RUN_FOLDERS,
        shared.OptionInfo(
            "",
            "Folders with trained files, one a line",
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
    """The axes must be there before the X/Y/Z plot builds its page."""
    from webui_extension.axes import add_axes

    add_axes(laboratory())


def ui_tabs() -> list[tuple[Any, str, str]]:
    """The tab."""
    from webui_extension.tab import build_tab

    return [(build_tab(laboratory(), training()), "LyCORIS Ext", "lycoris_ext")]


def app_started(demo: Any, app: Any) -> None:
    """The routes, where the host was asked for an API."""
    from modules import shared

    from webui_extension.routes import add_routes

    if laboratory().host.has_api():
        add_routes(app, laboratory(), training(), shared.cmd_opts.api_auth)
