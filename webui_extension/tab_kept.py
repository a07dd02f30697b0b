"""The buttons of page 3 for the chosen grid: go on with it, draw it again, hide it or delete it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lycoris_ext.errors import ConfigError
from webui_extension.form import FIELDS, values_of
from webui_extension.laboratory import Laboratory
from webui_extension.parts import part, shown
from webui_extension.tables import paragraph


def build_kept(
    laboratory: Laboratory,
    grids: Any,
    fields: Mapping[str, Any],
    choices: Callable[[], list[str]],
    chosen: Callable[[str | None], str],
) -> None:
    """Add the buttons to the open gradio tab.

    Args:
        laboratory: draws, hides and deletes grids.
        grids: the dropdown of grids.
        fields: the fields of page 2, as `build_test` returns them.
        choices: lists the entries of that dropdown.
        chosen: turns an entry into the grid's id.
    """
    import gradio as gr

    with gr.Row():
        go_on = part("Button", "go_on", value="Go on with this grid")
        again = part("Button", "draw_again", value="Put this grid's fields into page 2")
        hide = part("Button", "hide", value="Hide this grid from the list")
        show = part("Button", "show_hidden", value="Show hidden grids again")
    with gr.Row():
        delete = part("Button", "delete", value="Delete this grid and its pictures")
        sure = part("Checkbox", "delete_sure", label="Yes, delete this grid for good", value=False)
    said = part("HTML", "kept", value="")

    @shown(1)
    def continue_grid(choice: str | None) -> str:
        job = laboratory.go_on(chosen(choice))
        return paragraph(f"{job.progress}. Page 2 shows how it goes on.", "good")

    @shown(len(FIELDS) + 1)
    def put_back(choice: str | None) -> list[Any]:
        values = values_of(laboratory, laboratory.kept.form(chosen(choice)))
        return [
            *(_update(name, values) for name in FIELDS),
            paragraph("Page 2 now has the fields of this grid.", "good"),
        ]

    @shown(2)
    def hide_grid(choice: str | None) -> tuple[Any, str]:
        laboratory.kept.hide(chosen(choice))
        return gr.update(choices=choices(), value=None), paragraph("The grid is hidden.", "good")

    @shown(2)
    def show_all() -> tuple[Any, str]:
        for grid in laboratory.kept.ids(hidden=True):
            laboratory.kept.hide(grid, False)
        return gr.update(choices=choices()), ""

    @shown(3)
    def delete_grid(choice: str | None, is_sure: bool) -> tuple[Any, Any, str]:
        grid = chosen(choice)
        if not is_sure:
            raise ConfigError(
                "is not ticked", where="Yes, delete this grid for good", fix="tick it first"
            )
        laboratory.kept.delete(grid)
        left = gr.update(choices=choices(), value=None)
        return left, gr.update(value=False), paragraph("The grid is deleted.", "good")

    go_on.click(continue_grid, inputs=[grids], outputs=[said])
    again.click(put_back, inputs=[grids], outputs=[*fields.values(), said])
    hide.click(hide_grid, inputs=[grids], outputs=[grids, said])
    show.click(show_all, inputs=[], outputs=[grids, said])
    delete.click(delete_grid, inputs=[grids, sure], outputs=[grids, sure, said])


def _update(name: str, values: Mapping[str, Any]) -> Any:
    import gradio as gr

    if name not in values:
        return gr.update()
    if name == "chosen" and "choices" in values:
        return gr.update(choices=values["choices"], value=values[name])
    return gr.update(value=values[name])
