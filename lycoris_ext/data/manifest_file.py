"""The manifest of a data set as a file of a run: JSON lines in gzip, a picture a line.

The first line holds the format, the fingerprint and the options. A reader computes the fingerprint
again from the other lines, so that it notices damage. Any program that opens .gz files shows it.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from lycoris_ext.data.fingerprint import Entry, ListedSubset, Manifest
from lycoris_ext.data.subset import MOST_SAMPLES
from lycoris_ext.errors import FormatError
from lycoris_ext.files import cannot_read, open_file, size_within
from lycoris_ext.formats.atomic import atomic_write
from lycoris_ext.formats.json_text import parse_json

FORMAT = "lycoris_ext data set 1"
MANIFEST_BYTES = 400_000_000
"""The largest file that is read; 100,000 pictures with long captions take 10 MB."""
_LINE_BYTES = 2_000_000
"""The longest line: a caption has at most 1 MB, and the options of all subsets fewer."""
_MOST_BYTES = 1_000_000_000
"""The most bytes of all lines, whatever a small file claims to hold."""
_FAST = 1
"""Level of compression: the file is hardly larger than at the usual one, and written faster."""

_KINDS: dict[type, dict[str, Any]] = {
    Entry: {
        "name": str,
        "digest": str,
        "caption": (str, list),
        "repeats": (int, float),
        "subset": int,
    },
    ListedSubset: {"below": str, "marks": list, "own": dict},
}
Row = TypeVar("Row", Entry, ListedSubset)


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest in one step; the same manifest gives the same bytes.

    Raises:
        EnvironmentFault: the file cannot be written.
    """

    def write(file: BinaryIO) -> None:
        with gzip.GzipFile("", "wb", _FAST, file, mtime=0) as packed:
            packed.writelines(map(_line, _contents(manifest)))

    atomic_write(path, write)


def read_manifest(path: Path) -> Manifest | None:
    """Read a manifest; None if the file does not exist.

    Raises:
        DataError: the file cannot be opened.
        FormatError: it is no manifest, is damaged, or was written by another version.
    """
    if not path.is_file():
        return None
    try:
        size_within(path, MANIFEST_BYTES)
        with open_file(path) as file, gzip.GzipFile(fileobj=file) as packed:
            return _parsed(_lines(packed))
    except (
        *(gzip.BadGzipFile, zlib.error, EOFError),
        *(KeyError, TypeError, ValueError, IndexError, StopIteration),
    ) as error:
        raise _damaged(path, error) from error
    except OSError as error:
        raise cannot_read(path, error) from error


def _parsed(lines: Iterator[Any]) -> Manifest:
    first = next(lines)
    if first["format"] != FORMAT:
        raise ValueError(f"another version wrote it, as {first['format']!r:.60}")
    subsets = tuple(_typed(ListedSubset(*one)) for one in first["subsets"])
    entries = tuple(_typed(Entry(*one)) for one in lines)
    manifest = Manifest(dict(first["options"]), subsets, entries, int(first["seed"]))
    if manifest.fingerprint != first["fingerprint"]:
        raise ValueError("its fingerprint does not fit its content")
    return manifest


def _typed(row: Row) -> Row:
    """Return a row whose values have the types that its class declares."""
    kinds = _KINDS[type(row)]
    for value, (name, kind) in zip(row, kinds.items(), strict=True):
        if not isinstance(value, kind):
            raise TypeError(f"{name} is {value!r:.60}")
    return row


def _contents(manifest: Manifest) -> Iterator[Any]:
    yield {
        "format": FORMAT,
        "fingerprint": manifest.fingerprint,
        "seed": manifest.seed,
        "options": manifest.options,
        "subsets": manifest.subsets,
    }
    yield from manifest.entries


def _line(content: Any) -> bytes:
    # surrogatepass: a file name on Linux need not be text in any encoding.
    return (json.dumps(content, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def _lines(file: gzip.GzipFile) -> Iterator[Any]:
    """Yield the content of each line, within limits."""
    left = _MOST_BYTES
    for number in range(MOST_SAMPLES + 1):
        line = file.readline(_LINE_BYTES + 1)
        left -= len(line)
        if not line:
            return
        if len(line) > _LINE_BYTES or left < 0:
            raise ValueError(f"line {number + 1} is too long")
        yield parse_json(line)
    raise ValueError(f"it has more than {MOST_SAMPLES:,} lines")


def _damaged(path: Path, error: Exception) -> FormatError:
    return FormatError(
        f"the list of the pictures of a run is damaged ({error})",
        where=str(path),
        fix="compare with the adapter instead, whose fingerprint tells whether something changed",
    )
