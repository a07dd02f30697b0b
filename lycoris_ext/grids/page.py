"""Turn a grid into one HTML page that holds its pictures, style and script.

Prompts and names may come from hostile files, so the page holds them as JSON without "<" and its
script shows them as text. The page's content security policy allows only this script, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from PIL import Image

from lycoris_ext.grids.cells import StoredCell
from lycoris_ext.grids.checkpoints import Checkpoint
from lycoris_ext.grids.draw import Grid
from lycoris_ext.grids.plan import Cell, Column
from lycoris_ext.grids.votes import FILE, Vote
from lycoris_ext.words import short

#: Larger PNGs are put into the page as JPEG; the files in the cache are not changed.
_PNG_BYTES = 96_000
_JPEG_QUALITY = 93


def grid_page(
    grid: Grid[StoredCell],
    *,
    about: str = "",
    checkpoints: Mapping[str, Checkpoint] | None = None,
    votes_url: str = "",
) -> str:
    """Return the text of a grid's HTML page.

    Args:
        grid: the plan and the pictures drawn so far; other cells read "not drawn yet".
        about: more text under the title, such as the program's version.
        checkpoints: adapter's hash -> its checkpoint, for the notes under the columns' headings.
        votes_url: address, relative to the page, where the host stores votes: the page POSTs a
            vote to it and GETs votes_url/ID as row -> column. "" keeps votes in the browser, which
            can save them to a file.
    """
    plan = grid.plan
    content = {
        "id": plan.id,
        "title": plan.title,
        "subtitle": plan.subtitle(about),
        "bare": plan.has_bare,
        "columns": [
            {"label": label, "notes": _notes(column, checkpoints or {})}
            for label, column in zip(plan.column_labels(), plan.columns, strict=True)
        ],
        "rows": [
            {"label": label, "prompt": row.test.prompt}
            for label, row in zip(plan.row_labels(), plan.rows, strict=True)
        ],
        "cells": [[stored and _cell(stored) for stored in line] for line in grid.table()],
        "ballots": [
            [asdict(Vote.of(plan.id, Cell(row, column))) for column in plan.columns]
            for row in plan.rows
        ],
        "votes_url": votes_url,
        "votes_file": FILE,
    }
    return _assemble(short(plan.title), content)


def _notes(column: Column, checkpoints: Mapping[str, Checkpoint]) -> list[str]:
    known = column.entrant and checkpoints.get(column.entrant.hash)
    if not known:
        return []
    parts = [known.algorithm, known.dims]
    if known.step is not None:
        parts.append(f"step {known.step}")
    lines = [", ".join(part for part in parts if part)]
    return lines + [f"{name} {value:.4g}" for name, value in known.scores.items()]


def _cell(stored: StoredCell) -> dict[str, Any] | None:
    try:
        source, width = _source(stored)
    except (OSError, SyntaxError, ValueError):
        return None  # it was deleted or damaged meanwhile: the others are shown
    return {
        "src": source,
        "width": width,
        "parameters": stored.parameters,
        "fault": stored.fault,
    }


def _source(stored: StoredCell) -> tuple[str, int]:
    """Return a picture as a data URL, and its width."""
    content = stored.path.read_bytes()
    with Image.open(io.BytesIO(content)) as picture:
        kind = "png"
        if len(content) > _PNG_BYTES:
            smaller = io.BytesIO()
            # Not optimize=True: Pillow's room for that is too small for a noisy picture.
            picture.convert("RGB").save(smaller, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
            content, kind = smaller.getvalue(), "jpeg"
        width = picture.width
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}", width


def _assemble(title: str, content: dict[str, Any]) -> str:
    parts = files("lycoris_ext.grids") / "page_parts"
    read: Callable[[str], str] = lambda name: (parts / name).read_text(encoding="utf-8")  # noqa: E731
    script = read("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; connect-src 'self'; base-uri 'none'; form-action 'none'"
    )
    # In JSON "<" occurs only inside strings, where \u003c means the same and cannot end a script.
    data = json.dumps(content, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e")
    values = {
        "policy": policy,
        "title": html.escape(title),
        "style": read("page.css"),
        "data": data,
        "script": script,
    }
    page = read("page.html")
    filled = []
    # Fill in one pass, since a value may itself hold "@data@".
    for index, piece in enumerate(page.split("@")):
        filled.append(values[piece] if index % 2 else piece)
    return "".join(filled)
