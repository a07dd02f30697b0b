"""Read the lists and tables of tags that users give."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lycoris_ext.data.queries import as_compared
from lycoris_ext.errors import DataError
from lycoris_ext.files import read_text_within
from lycoris_ext.formats.json_text import parse_json
from lycoris_ext.os_errors import reason, remedy_for_reading

LIST_BYTES = 50_000_000


def read_listed(file: Path) -> frozenset[str]:
    """Return the tags in a text file, one a line, as ``as_compared`` returns them.

    Raises:
        DataError: the file cannot be read.
    """
    return frozenset(as_compared(line.strip()) for line in _read(file).split("\n") if line.strip())


def read_table(file: Path) -> dict[str, frozenset[str]]:
    """Return a JSON table of names and lists of tags; its tags are as ``as_compared``.

    Names stay as they are. The list of anime_screenshot_pipeline, of objects with "query" and
    "has_overlap", is read, too.

    Raises:
        DataError: the file cannot be read, or is no such table.
    """
    try:
        content: Any = parse_json(_read(file))
    except ValueError as error:
        raise DataError(f"is no JSON ({error})", where=str(file), fix=_FIX) from error
    if isinstance(content, list):
        content = {
            row.get("query"): row.get("has_overlap") or []
            for row in content
            if isinstance(row, dict) and isinstance(row.get("query"), str)
        }
    if not isinstance(content, dict) or not all(map(_is_row, content.items())):
        raise DataError("is no table of names and lists of tags", where=str(file), fix=_FIX)
    return {name: frozenset(map(as_compared, tags)) for name, tags in content.items()}


_FIX = 'write it as in {"hair": ["long hair", "short hair"]}'


def _is_row(row: tuple[object, object]) -> bool:
    name, tags = row
    return isinstance(name, str) and isinstance(tags, list) and _all_texts(tags)


def _all_texts(tags: Iterable[object]) -> bool:
    return all(isinstance(tag, str) for tag in tags)


def _read(file: Path) -> str:
    try:
        return read_text_within(file, LIST_BYTES)
    except OSError as error:
        raise DataError(
            f"cannot be read ({reason(error)})", where=str(file), fix=remedy_for_reading(error)
        ) from error
    except UnicodeDecodeError as error:
        raise DataError("is not UTF-8", where=str(file), fix="save it as UTF-8") from error
