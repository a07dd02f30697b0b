"""Pages that are written by code: tables, the place between two marks, and putting them on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lycoris_ext.formats import atomic_write


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]


def cell(text: str) -> str:
    """A help text inside of a table: no bar ends the cell, and code has one backquote."""
    return text.replace("``", "`").replace("|", "\\|")


def filled(page: str, begin: str, end: str, text: str) -> str:
    """A page with a text between its two marks, whatever stood there."""
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}"


def write(files: Mapping[Path, str]) -> None:
    """Write every file anew and say its name."""
    for path, text in files.items():
        atomic_write(path, text.encode("utf-8"))
        print(path)
