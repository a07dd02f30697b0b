"""Helpers for pages that scripts write: Markdown tables, generated sections, files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lycoris_ext.formats import atomic_write


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]


def cell(text: str) -> str:
    """Turn a help text (reStructuredText) into a Markdown table's cell.

    Bars are escaped and double backquotes become single ones.
    """
    return text.replace("``", "`").replace("|", "\\|")


def filled(page: str, begin: str, end: str, text: str) -> str:
    """Return a page in which the text between two marks is replaced.

    Args:
        page: the page's text.
        begin, end: the marks, which stay in the page.
        text: the new text.
    """
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}"


def write(files: Mapping[Path, str]) -> None:
    """Write files (path -> text) and print their paths."""
    for path, text in files.items():
        atomic_write(path, text.encode("utf-8"))
        print(path)
