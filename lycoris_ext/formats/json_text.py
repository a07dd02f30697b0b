"""Reading JSON of strangers: whatever is in it, parsing it takes memory and time for its length.

Python's parser makes objects of 56 bytes and more of two letters, such as ``[]``, and gives up with
an error of its own kind where lists are nested too deeply.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lycoris_ext.files import read_within

MAX_BYTES = 64_000_000
"""Of a file. The largest that models have are tokenizers, with 2 to 34 million bytes."""
MAX_OUTSIDE = 4_000_000
"""Bytes outside of texts: parsed, they take up to 21 times as much, and texts as much as they are
long. The entry of a tensor in a header has 50, of a tag in an adapter's metadata 7."""
MAX_QUOTES = 2_000_000
"""Of all texts, two each. The entry of a tensor in a header has 10, of a tag 2."""


def parse_json(text: str | bytes, times: int = 1) -> Any:
    """Parse a JSON text.

    Args:
        text: the JSON.
        times: so many times ``MAX_OUTSIDE`` and ``MAX_QUOTES`` may it have.

    Raises:
        ValueError: it is none, is nested too deeply, or is long for another reason than its texts.
    """
    if len(text) > MAX_OUTSIDE:
        raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        _check_long(raw, times)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("lists or objects are nested too deeply") from error


def read_json(path: Path) -> Any:
    """Read a file of JSON.

    Raises:
        OSError: it cannot be read, or is longer than ``MAX_BYTES`` (``Unreadable``).
        ValueError: it is no JSON in UTF-8; see ``parse_json``.
    """
    return parse_json(read_within(path, MAX_BYTES))


def _check_long(text: bytes, times: int) -> None:
    """Check that a long text is long because of the texts in it, before it is parsed."""
    plain = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    quotes = plain.count(b'"')
    if quotes > times * MAX_QUOTES:
        raise ValueError(f"it has {quotes:,} quotes, at most {times * MAX_QUOTES:,} are read")
    outside = sum(map(len, plain.split(b'"')[::2]))
    if outside > times * MAX_OUTSIDE:
        raise ValueError(
            f"{outside:,} bytes of it are in no text, at most {times * MAX_OUTSIDE:,} are read"
        )
