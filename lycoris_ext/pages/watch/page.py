"""The page of runs: served with their newest numbers, or written as one file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from lycoris_ext.files import open_file
from lycoris_ext.formats import atomic_write
from lycoris_ext.pages.assemble import assemble
from lycoris_ext.pages.watch.content import Watched

LARGEST = 512
"""Pixels of the longer side of a picture inside a page that is written as a file."""
_SCRIPTS = ("chart", "pictures", "runs")


def page_text(content: dict[str, Any]) -> str:
    """Return the HTML of the page with its first numbers in it."""
    title = ", ".join(run["name"] for run in content["runs"])
    return assemble(
        "lycoris_ext.pages.watch", "index", title, content, scripts=_SCRIPTS, asks_host=True
    )


def write_page(file: Path, runs: Sequence[Watched]) -> None:
    """Write the page as one file, with small copies of all pictures inside.

    Raises:
        DataError: an event log cannot be read.
        EnvironmentFault: the file cannot be written.
    """
    content = {"live": "", "runs": [run.as_content(_inside) for run in runs]}
    atomic_write(file, page_text(content).encode("utf-8", "replace"))


def _inside(picture: Path) -> str:
    """Return a small copy of a picture as an address; "" if it cannot be read."""
    copy = io.BytesIO()
    try:
        with open_file(picture) as file, Image.open(file) as opened:
            small = opened.convert("RGB")
            small.thumbnail((LARGEST, LARGEST))
            small.save(copy, "JPEG", quality=88)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(copy.getvalue()).decode('ascii')}"
