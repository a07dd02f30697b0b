"""Page 3, "Judge": look at a grid closely and vote for the best picture of each row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.grids.headings import harmless, short_title
from lycoris_ext.grids.plan_file import PLAN, read_faults, read_plan
from webui_extension.frame import frame, link_to_file
from webui_extension.laboratory import Laboratory
from webui_extension.parts import part, shown
from webui_extension.tab_kept import build_kept
from webui_extension.tables import paragraph, table


def build_judge(laboratory: Laboratory, fields: Mapping[str, Any], theme: Any) -> None:
    """Add the page's components to the open gradio tab.

    Args:
        laboratory: knows the grids.
        fields: those of page 2.
        theme: the component with the host's theme.
    """
    import gradio as gr

    with gr.Row():
        grids = part("Dropdown", "grids", label="Grid", choices=_choices(laboratory), scale=4)
        refresh = part("Button", "refresh_grids", value="Look for grids", scale=1)
    page = part("HTML", "page", value="")
    with gr.Row():
        save = part("Button", "save_page", value="Save the page with its pictures as one file")
        saved = part("HTML", "saved_page", value="")
    with gr.Row():
        row = part("Dropdown", "vote_row", label="Row", choices=[])
        column = part("Dropdown", "vote_column", label="Best picture of this row", choices=[])
        vote = part("Button", "vote", value="Vote", variant="primary")
    counted = part("HTML", "votes", value="")
    build_kept(laboratory, grids, fields, lambda: _choices(laboratory), _id)

    @shown(4)
    def show(choice: str | None, theme: str) -> tuple[Any, Any, str, str]:
        if not choice:  # it was hidden or deleted
            return gr.update(choices=[], value=None), gr.update(choices=[], value=None), "", ""
        grid = _id(choice)
        plan = read_plan(laboratory.grid_folder(grid) / PLAN)
        return (
            gr.update(choices=_numbered(plan.row_labels()), value=None),
            gr.update(choices=_numbered(plan.column_labels()), value=None),
            frame(laboratory, grid, theme),
            _tally(laboratory, grid),
        )

    @shown(1)
    def one_file(choice: str | None) -> str:
        return link_to_file(laboratory.file(_id(choice)))

    @shown(1)
    def cast(choice: str | None, row: str | None, column: str | None) -> str:
        grid = _id(choice)
        if not row or not column:
            raise ConfigError(
                "no picture is chosen", where="Vote", fix="choose a row and its best picture"
            )
        laboratory.vote(grid, _number(row), _number(column))
        return _tally(laboratory, grid)

    refresh.click(
        lambda: gr.update(choices=_choices(laboratory)), inputs=[], outputs=[grids], queue=False
    )
    grids.change(show, inputs=[grids, theme], outputs=[row, column, page, counted])
    save.click(one_file, inputs=[grids], outputs=[saved])
    vote.click(cast, inputs=[grids, row, column], outputs=[counted])


def _choices(laboratory: Laboratory) -> list[str]:
    labels = []
    for grid in laboratory.grids():
        try:
            path = laboratory.grid_folder(grid) / PLAN
            plan, faults = read_plan(path), read_faults(path)
        except DataError:
            continue  # written by another version; its page on the disk still works
        title = harmless(short_title(plan))
        drawn = sum(fault is not None for line in faults for fault in line)
        lacks = f", {drawn} of {plan.size} drawn" if faults and drawn < plan.size else ""
        labels.append(f"{title}: {len(plan.rows)} x {len(plan.columns)}{lacks} [{grid}]")
    return labels


def _id(choice: str | None) -> str:
    """Return the grid's id from the end of a dropdown entry such as "title: 2 x 3 [id]".

    A pair (label, value) would be simpler, but gradio forgets pairs added after the page was built.
    """
    if not choice:
        raise ConfigError("no grid is chosen", where="Judge", fix="choose a grid")
    return choice.rpartition("[")[2].rstrip("]")


def _numbered(labels: list[str]) -> list[str]:
    return [f"{number + 1}. {label}" for number, label in enumerate(labels)]


def _number(choice: str) -> int:
    return int(choice.partition(".")[0]) - 1


def _tally(laboratory: Laboratory, grid: str) -> str:
    rows = [(name, str(count)) for name, count in laboratory.votes(grid).items()]
    return table(("best", "votes"), rows) if rows else paragraph("No votes yet.")
