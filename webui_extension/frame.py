"""Show the page of a grid in a frame inside the tab."""

from __future__ import annotations

from html import escape
from pathlib import Path
from urllib.parse import quote

from lycoris_ext.grids.output import PICTURE
from webui_extension.laboratory import Laboratory


def frame(laboratory: Laboratory, grid: str, theme: str = "") -> str:
    """Return HTML with a grid's page in a frame, and links to it.

    If the host has an API without a password, the page comes from there and keeps its votes there.
    Otherwise gradio serves it, as it does the host's own pictures, and the votes of the page stay
    in the browser. The page's own content policy allows no script but its own.

    Args:
        laboratory: knows where the page is.
        grid: the grid's id.
        theme: the host's theme, "light" or "dark"; "" leaves it to the system.

    Raises:
        DataError: the page is not written yet.
    """
    path = laboratory.page(grid)
    through_api = laboratory.host.has_open_api()
    address = f"lycoris-ext/v1/grids/{grid}/page" if through_api else _served(path)
    look = f"?__theme={quote(theme)}" if theme else ""
    links = [_link(address + look, "Open in a new tab")]
    if (path.parent / PICTURE).is_file():
        links.append(_link(_served(path.parent / PICTURE), "As one picture"))
    # With its own origin the page may keep votes in the browser, and show pictures to those alone
    # who are logged in.
    allowed = "allow-scripts allow-downloads allow-same-origin"
    return (
        f'<p class="lycoris-ext">{" &middot; ".join(links)}</p>'
        f'<iframe class="lycoris-ext" src="{escape(address + look)}" sandbox="{allowed}"></iframe>'
    )


def link_to_file(path: Path) -> str:
    """Return HTML with a link by which the browser saves a file of a grid."""
    return f'<p class="lycoris-ext"><a href="{escape(_served(path))}" download>{path.name}</a></p>'


def _served(path: Path) -> str:
    """Return the address at which gradio serves a file, relative to the host's page."""
    return f"file={quote(path.as_posix())}"


def _link(address: str, text: str) -> str:
    return f'<a href="{escape(address)}" target="_blank">{escape(text)}</a>'
