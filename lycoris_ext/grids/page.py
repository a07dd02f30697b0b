"""A grid as one HTML page that needs nothing else: pictures, style and script are inside.

All text in it is data: JSON in which no tag can begin, shown as text by the page's one script,
which the page's own policy lets run by its hash and nothing else.
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

#: Larger PNGs go into the page as JPEG; the originals stay where they are.
_PNG_BYTES = 96_000
_JPEG_QUALITY = 93


def grid_page(
    grid: Grid[StoredCell],
    *,
    about: str = "",
    checkpoints: Mapping[str, Checkpoint] | None = None,
    votes_url: str = "",
) -> str:
    """Write a grid as a page.

    Args:
        grid: complete or not; what is missing is shown as missing.
        about: what the plan does not know, such as the program's version; stands under the title.
        checkpoints: by hash, for what stands under a column's heading.
        votes_url: of the host that serves the page and keeps its votes: a star is posted there,
            and votes_url/ID answers with row -> column of those that are there. "" keeps them in
            the browser alone, to be saved.
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


def _cell(stored: StoredCell) -> dict[str, Any]:
    content = stored.path.read_bytes()
    with Image.open(io.BytesIO(content)) as picture:
        width = picture.width
        kind = "png"
        if len(content) > _PNG_BYTES:
            smaller = io.BytesIO()
            picture.convert("RGB").save(
                smaller, "JPEG", quality=_JPEG_QUALITY, subsampling=0, optimize=True
            )
            content, kind = smaller.getvalue(), "jpeg"
    return {
        "src": f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}",
        "width": width,
        "parameters": stored.parameters,
        "fault": stored.fault,
    }


def _assemble(title: str, content: dict[str, Any]) -> str:
    parts = files("lycoris_ext.grids") / "page_parts"
    read: Callable[[str], str] = lambda name: (parts / name).read_text(encoding="utf-8")  # noqa: E731
    script = read("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; connect-src 'self'; base-uri 'none'; form-action 'none'"
    )
    # In JSON "<" occurs inside strings alone, where \u003c means the same and ends no script.
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
    # In one pass: what is filled in may itself hold "@data@".
    for index, piece in enumerate(page.split("@")):
        filled.append(values[piece] if index % 2 else piece)
    return "".join(filled)
