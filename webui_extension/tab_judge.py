"""Page 3, "Judge": look at a grid closely and vote for the best picture of each row."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any
from urllib.parse import quote

from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.grids.plan_file import PLAN, read_plan
from webui_extension.laboratory import Laboratory
from webui_extension.parts import part, shown
from webui_extension.tab_kept import build_kept
from webui_extension.tables import paragraph, table


def build_judge(laboratory: Laboratory, fields: Mapping[str, Any]) -> None:
    """Add the page's components to the open gradio tab; `fields` are those of page 2."""
    import gradio as gr

    with gr.Row():
        grids = part("Dropdown", "grids", label="Grid", choices=_choices(laboratory), scale=4)
        refresh = part("Button", "refresh_grids", value="Look for grids", scale=1)
    page = part("HTML", "page", value="")
    with gr.Row():
        row = part("Dropdown", "vote_row", label="Row", choices=[])
        column = part("Dropdown", "vote_column", label="Best picture of this row", choices=[])
        vote = part("Button", "vote", value="Vote", variant="primary")
    counted = part("HTML", "votes", value="")
    build_kept(laboratory, grids, fields, lambda: _choices(laboratory), _id)

    @shown(4)
    def show(choice: str | None) -> tuple[Any, Any, str, str]:
        if not choice:  # it was hidden or deleted
            return gr.update(choices=[], value=None), gr.update(choices=[], value=None), "", ""
        grid = _id(choice)
        plan = read_plan(laboratory.grid_folder(grid) / PLAN)
        return (
            gr.update(choices=_numbered(plan.row_labels()), value=None),
            gr.update(choices=_numbered(plan.column_labels()), value=None),
            _frame(laboratory, grid),
            _tally(laboratory, grid),
        )

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
    grids.change(show, inputs=[grids], outputs=[row, column, page, counted])
    vote.click(cast, inputs=[grids, row, column], outputs=[counted])


def _choices(laboratory: Laboratory) -> list[str]:
    labels = []
    for grid in laboratory.grids():
        try:
            plan = read_plan(laboratory.grid_folder(grid) / PLAN)
        except DataError:
            continue  # written by another version; its page on the disk still works
        labels.append(f"{plan.title}: {len(plan.rows)} x {len(plan.columns)} [{grid}]")
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


def _frame(laboratory: Laboratory, grid: str) -> str:
    """Return HTML that shows a grid's page in a frame inside the tab.

    If the host has an API, the page may call it to store votes; the page's own content policy
    allows no script but its own. Without an API the frame is isolated from the host.
    """
    path = laboratory.page(grid)
    allowed = "allow-scripts allow-downloads"
    if laboratory.host.has_api():
        address, allowed = f"lycoris-ext/v1/grids/{grid}/page", f"{allowed} allow-same-origin"
    else:
        address = f"file={quote(str(path))}"
    address = escape(f"{address}?{path.stat().st_mtime_ns}", quote=True)
    return (
        f'<p class="lycoris-ext"><a href="{address}" target="_blank">Open it in a new tab</a></p>'
        f'<iframe class="lycoris-ext" src="{address}" sandbox="{allowed}"></iframe>'
    )
