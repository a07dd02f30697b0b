"""What each output of a tagger means, from the list of tags beside the model.

Two lists are read: ``selected_tags.csv``, a row for each output with the columns name and category
(numbers as on Danbooru), and ``tag_mapping.json``, a table of outputs with tag and category.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lycoris_ext.errors import DataError, FormatError
from lycoris_ext.files import cannot_read, read_text_within
from lycoris_ext.words import short

CSV = "selected_tags.csv"
JSON = "tag_mapping.json"
LIST_BYTES = 50_000_000
"""The largest list that is read; those in use have 0.3 to 10 MB."""
MOST_OUTPUTS = 1_000_000
CATEGORIES = {
    "0": "general",
    "1": "artist",
    "3": "copyright",
    "4": "character",
    "5": "meta",
    "9": "rating",
}
"""Danbooru's numbers of categories -> names; tags with any other number count as general."""
NAMES = frozenset((*CATEGORIES.values(), "model", "quality"))


@dataclass(frozen=True)
class Label:
    """The meaning of an output.

    Args:
        tag: as the list writes it.
        category: one of ``NAMES``.
    """

    tag: str
    category: str


@dataclass(frozen=True)
class Labels:
    """The meanings of all outputs.

    Args:
        file: the list that they were read from.
        by_output: output -> meaning.
        outputs: the number of outputs that the model must have, at least.
        exact: whether it must have exactly so many.
        by_confidence: whether a caption has the most likely tag first; else the order of outputs.
    """

    file: Path
    by_output: dict[int, Label]
    outputs: int
    exact: bool
    by_confidence: bool

    def of(self, *categories: str) -> list[int]:
        """Return the outputs of some categories."""
        return [number for number, one in self.by_output.items() if one.category in categories]


def read_labels(folder: Path) -> Labels:
    """Read the list of tags in the folder of a tagger.

    Raises:
        DataError: there is none, or it cannot be read.
        FormatError: it is not of that kind.
    """
    for name, read in ((CSV, _from_csv), (JSON, _from_json)):
        file = folder / name
        try:
            text = read_text_within(file, LIST_BYTES)
        except FileNotFoundError:
            continue
        except UnicodeDecodeError as error:
            raise FormatError(
                "is not UTF-8", where=str(file), fix="take the file that belongs to the model"
            ) from error
        except OSError as error:
            raise cannot_read(file, error) from error
        return read(file, text)
    raise DataError(
        f"holds neither {CSV} nor {JSON}, which says what the outputs of the model mean",
        where=str(folder),
        fix="put the list of tags that belongs to the model beside it",
    )


def _from_csv(file: Path, text: str) -> Labels:
    found = dict(enumerate(_rows(file, text)))
    if not found:
        raise _no_list(file, "has no row with a tag")
    return Labels(file, found, len(found), exact=True, by_confidence=False)


def _rows(file: Path, text: str) -> Iterator[Label]:
    rows = csv.reader(io.StringIO(text, newline=""))
    try:
        header = [name.strip() for name in next(rows, [])]
        missing = [name for name in ("name", "category") if name not in header]
        if missing:
            raise _no_list(file, f"has no column {missing[0]!r} in its first line: {header!r:.80}")
        name, category = header.index("name"), header.index("category")
        for row in rows:
            if not row:
                continue
            if len(row) <= max(name, category) or not row[name]:
                raise _no_list(file, f"has no tag in line {rows.line_num}: {short(repr(row), 80)}")
            if rows.line_num > MOST_OUTPUTS:
                raise _no_list(file, f"has more than {MOST_OUTPUTS:,} lines")
            yield Label(row[name], CATEGORIES.get(row[category].strip(), "general"))
    except csv.Error as error:
        raise _no_list(file, f"cannot be read in line {rows.line_num} ({error})") from error


def _from_json(file: Path, text: str) -> Labels:
    try:
        table: Any = json.loads(text)
        found = {_output(key): _label(entry) for key, entry in table.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _no_list(
            file, f'is no table such as {{"0": {{"tag": ..., "category": ...}}}} ({error!r:.60})'
        ) from error
    if not found:
        raise _no_list(file, "has no entry")
    ordered = dict(sorted(found.items()))
    return Labels(file, ordered, max(ordered) + 1, exact=False, by_confidence=True)


def _output(key: str) -> int:
    number = int(key)
    if not 0 <= number < MOST_OUTPUTS:
        raise ValueError(f"{number} is no output")
    return number


def _label(entry: Any) -> Label:
    tag, category = entry["tag"], entry["category"].lower()
    if not isinstance(tag, str) or not tag or category not in NAMES:
        raise ValueError(f"{tag!r:.30}, {category!r:.30}")
    return Label(tag, category)


def _no_list(file: Path, what: str) -> FormatError:
    return FormatError(what, where=str(file), fix="take the file that belongs to the model")
