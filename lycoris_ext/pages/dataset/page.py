"""Write the page of a data set's report: index.html and small copies of pictures in a folder.

The folder is the page's own. Nothing is written into the data set, whose folders and files are only
read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from lycoris_ext import __version__
from lycoris_ext.data.report import Report
from lycoris_ext.data.token_limit import TokenLimit
from lycoris_ext.errors import DataError
from lycoris_ext.files import open_file
from lycoris_ext.formats import atomic_write
from lycoris_ext.os_errors import reason, remedy_for_writing
from lycoris_ext.pages.assemble import assemble
from lycoris_ext.pages.dataset.choice import MOST, choose
from lycoris_ext.pages.dataset.content import page_content
from lycoris_ext.pages.dataset.thumbnails import Thumbnails
from lycoris_ext.words import short

PAGE = "index.html"
_MARK = b'<meta name="generator" content="lycoris-ext dataset report">'
_SCRIPTS = ("words", "viewer", "findings", "levels", "concepts", "charts", "tags", "start")
_ELSEWHERE = "name a new folder elsewhere"


def check_place(folder: Path, data: Iterable[Path]) -> None:
    """Check that a page may be written into a folder, before the work begins.

    Args:
        folder: for the page.
        data: the folders of the data set.

    Raises:
        DataError: it is a file, lies in the data set, or holds something else than such a page. A
            hidden folder (".report") may lie in the data set, because nothing reads pictures there.
    """
    place = folder.resolve()
    for root in {one.resolve() for one in data}:
        if place.is_relative_to(root):
            parts = place.relative_to(root).parts
            if not any(part.startswith(".") for part in parts):
                raise DataError(
                    f"lies in the data set {root}, where its pictures would be trained",
                    where=str(folder),
                    fix=f"{_ELSEWHERE}, or a hidden one there, such as .report",
                )
    try:
        if folder.exists() and any(folder.iterdir()) and not _is_ours(folder / PAGE):
            raise DataError(
                "holds other files than such a page, and nothing of it is overwritten",
                where=str(folder),
                fix=_ELSEWHERE,
            )
    except OSError as error:
        raise DataError(
            f"the page cannot be written there ({reason(error)})",
            where=str(folder),
            fix=remedy_for_writing(error, _ELSEWHERE),
        ) from error


def write_report_page(
    folder: Path,
    report: Report,
    *,
    most: int = MOST,
    limit: TokenLimit | None = None,
    progress: Callable[[int], object] = lambda _: None,
) -> Path:
    """Write the page of a report, and the small copies of its pictures beside it.

    Copies of an earlier page in this folder are used again where their pictures are the same.

    Args:
        folder: for this page only, see ``check_place``; it is made if needed.
        report: what the data set holds.
        most: the largest number of pictures that the page shows.
        limit: how many tokens of a caption are read; None for CLIP's usual number.
        progress: called with the number of pictures done since the last call; there are
            ``min(most, len(report.pictures))``, and of a file that is read twice only one.

    Returns:
        The path of index.html.

    Raises:
        EnvironmentFault: the disk is full or the folder cannot be written.
    """
    chosen = choose(report, most)
    thumbnails = Thumbnails(folder)
    copies = thumbnails.make((report.pictures[number].picture.path for number in chosen), progress)
    content = page_content(
        report, chosen, copies, thumbnails.faults, lambda path: _address(path, folder), limit
    )
    name = Path(report.folder).resolve().name or report.folder
    content |= {
        "title": name,
        "about": f"{datetime.now():%Y-%m-%d %H:%M}, lycoris_ext {__version__}",
    }
    page = assemble("lycoris_ext.pages.dataset", "index", short(name), content, scripts=_SCRIPTS)
    atomic_write(folder / PAGE, page.encode("utf-8", "replace"))
    thumbnails.remove_others()
    return folder / PAGE


def _is_ours(page: Path) -> bool:
    if not page.is_file():
        return False
    with open_file(page) as file:
        return _MARK in file.read(4096)


def _address(picture: Path, folder: Path) -> str:
    """Return the address of a picture, relative to the page where that is possible."""
    try:
        relative = os.path.relpath(picture.absolute(), folder.absolute())
    except ValueError:  # on another drive of Windows
        return picture.absolute().as_uri()
    return quote(os.fsencode(relative.replace(os.sep, "/")))
