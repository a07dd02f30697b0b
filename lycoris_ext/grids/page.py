"""Turn a grid into an HTML page with its own style and script, and its pictures beside it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lycoris_ext.errors import DataError
from lycoris_ext.files import read_text
from lycoris_ext.formats import atomic_write
from lycoris_ext.formats.json_text import parse_json
from lycoris_ext.grids.cells import StoredCell
from lycoris_ext.grids.checkpoints import Checkpoint
from lycoris_ext.grids.draw import Grid
from lycoris_ext.grids.headings import harmless, short_title, what_differs
from lycoris_ext.grids.page_pictures import PicturesBeside, embedded, inside
from lycoris_ext.grids.plan import BARE, Cell, Column, Row
from lycoris_ext.grids.votes import FILE, Vote, file_version, telling_labels
from lycoris_ext.pages.assemble import as_json, assemble
from lycoris_ext.words import short

PAGE = "grid.html"
_DATA = re.compile(r'(<script type="application/json" id="data">)(.*?)(</script>)', re.DOTALL)
_OF_A_COLUMN = ("adapter", "hash", "strength")


def write_page(
    folder: Path,
    grid: Grid[StoredCell],
    *,
    about: str = "",
    checkpoints: Mapping[str, Checkpoint] | None = None,
    votes_url: str = "",
    running: bool = False,
) -> Path:
    """Write grid.html, and the pictures that it shows into the subfolder "cells" beside it.

    It may be written anew after each picture: pictures that are there are not written again.

    Args:
        folder: a folder for this grid only; it is made if needed.
        grid, about, checkpoints, votes_url: see `grid_page`.
        running: whether the grid is still being drawn. Then the page reloads itself every few
            seconds; at the end of the drawing, write it without.

    Returns:
        The path of grid.html.

    Raises:
        EnvironmentFault: the disk is full or the folder cannot be written.
    """
    pictures = PicturesBeside(folder)
    page = grid_page(
        grid,
        about=about,
        checkpoints=checkpoints,
        votes_url=votes_url,
        running=running,
        picture=pictures,
    )
    atomic_write(folder / PAGE, page.encode("utf-8", "replace"))
    if not running:
        pictures.remove_others()
    return folder / PAGE


def grid_page(
    grid: Grid[StoredCell],
    *,
    about: str = "",
    checkpoints: Mapping[str, Checkpoint] | None = None,
    votes_url: str = "",
    running: bool = False,
    picture: Callable[[StoredCell], str] = inside,
) -> str:
    """Return the text of a grid's HTML page.

    Args:
        grid: the plan and the pictures drawn so far; other cells read "not drawn yet".
        about: more text under the title, such as the program's version.
        checkpoints: adapter's hash -> its checkpoint, for the notes under the columns' headings.
        votes_url: address, relative to the page, where the host stores votes: the page POSTs a
            vote to it and GETs votes_url/ID as row -> column. "" keeps votes in the browser, which
            can save them to a file.
        running: whether more pictures are being drawn, so that the page reloads itself.
        picture: returns the address of a picture; by default the page holds the pictures.
    """
    plan = grid.plan
    names = [entrant.name for entrant in plan.entrants]
    differs = {BARE: BARE, **dict(zip(names, what_differs(names), strict=True))}
    labels = telling_labels(plan)
    content = {
        "id": plan.id,
        "title": short_title(plan),
        "subtitle": plan.subtitle(about),
        "bare": plan.has_bare,
        "running": running,
        "written": time.time(),
        "columns": [
            {
                "label": label,
                "short": differs[column.adapter] + label.removeprefix(column.adapter),
                "notes": _notes(column, checkpoints or {}),
                "vote": _vote_for_column(plan.id, plan.rows[0], column),
            }
            for label, column in zip(plan.column_labels(), plan.columns, strict=True)
        ],
        "rows": [
            {
                "label": label.replace("\n", ", "),
                # In a low row a long prompt is cut, but not the settings in which the rows differ.
                "title": row.test.title,
                "differs": label.removeprefix(row.test.title).strip(),
                "vote": Vote.of(plan.id, Cell(row, plan.columns[0]), labels[row]).as_dict(),
            }
            for label, row in zip(plan.row_labels("\n"), plan.rows, strict=True)
        ],
        "cells": [
            [stored and _cell(stored, row, picture(stored)) for stored in line]
            for line, row in zip(grid.table(), plan.rows, strict=True)
        ],
        "votes_url": votes_url,
        "votes_file": FILE,
        "votes_version": file_version(labels.values()),
    }
    return assemble(
        "lycoris_ext.grids",
        "page",
        short(harmless(short_title(plan))),
        content,
        scripts=["page"],
        asks_host=True,
    )


def end_page(page: Path) -> None:
    """Let a page of a drawing that was killed stop loading itself again; do nothing to others.

    Args:
        page: the grid.html of `write_page`.

    Raises:
        DataError: the file is no such page.
        EnvironmentFault: it cannot be written.
    """
    try:
        text = read_text(page)
        content = parse_json(_DATA.search(text)[2])  # type: ignore[index]
        running = content.get("running", False)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise _no_page(page, error) from error
    if running:
        content["running"] = False
        ended = _DATA.sub(lambda found: found[1] + as_json(content) + found[3], text, count=1)
        atomic_write(page, ended.encode("utf-8", "replace"))


def single_file(page: Path) -> str:
    """Return the text of a page with its pictures inside it, so that it can be sent as one file.

    Args:
        page: the grid.html of `write_page`; its pictures lie beside it.

    Raises:
        DataError: the file is no such page, or a picture is gone.
    """
    try:
        text = read_text(page)
        content = parse_json(_DATA.search(text)[2])  # type: ignore[index]
        for cell in (cell for line in content["cells"] for cell in line if cell):
            if not cell["src"].startswith("data:"):
                cell["src"] = embedded(page.parent / cell["src"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _no_page(page, error) from error
    content["running"] = False
    return _DATA.sub(lambda found: found[1] + as_json(content) + found[3], text, count=1)


def _no_page(page: Path, error: Exception) -> DataError:
    return DataError(
        f"this is no page of a grid ({error})", where=str(page), fix="draw the grid again"
    )


def _vote_for_column(grid: str, row: Row, column: Column) -> dict[str, Any]:
    vote = Vote.of(grid, Cell(row, column)).as_dict()
    return {name: vote[name] for name in _OF_A_COLUMN}


def _notes(column: Column, checkpoints: Mapping[str, Checkpoint]) -> list[str]:
    known = column.entrant and checkpoints.get(column.entrant.hash)
    if not known:
        return []
    parts = [known.algorithm, known.dims]
    if known.step is not None:
        parts.append(f"step {known.step}")
    lines = [", ".join(part for part in parts if part)]
    return lines + [f"{name} {value:.4g}" for name, value in known.scores.items()]


def _cell(stored: StoredCell, row: Row, address: str) -> dict[str, Any] | None:
    if not address:
        return None
    return {
        "src": address,
        # The room that is kept for a picture until the browser has loaded it.
        "width": row.settings.width,
        "height": row.settings.height,
        "parameters": stored.parameters,
        "fault": stored.fault,
    }
