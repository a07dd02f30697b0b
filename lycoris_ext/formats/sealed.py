"""Content with its own hash, so that a reader notices every changed bit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from lycoris_ext.formats.json_text import parse_json

_DIGEST_BYTES = 32
_FIELD = "hash"


def sealed(content: bytes, key: str = "") -> bytes:
    """Return the hash of a content, and the content.

    Args:
        content: any bytes.
        key: what the content belongs to; under another key it is not accepted.
    """
    return _digest(content, key) + content


def unsealed(raw: bytes, key: str = "") -> bytes | None:
    """Return the content of what ``sealed`` returned; None if it is damaged or is another's."""
    content = raw[_DIGEST_BYTES:]
    return content if raw[:_DIGEST_BYTES] == _digest(content, key) else None


def sealed_json(content: Mapping[str, Any]) -> bytes:
    """Write a JSON object for people to read, with its own hash as the last field.

    Args:
        content: JSON values; others, such as paths, are written as texts.
    """
    text = json.dumps(content, ensure_ascii=False, default=str)
    written = json.loads(text.encode("utf-8", "replace"))  # as a reader gets it
    sealed = {**written, _FIELD: _digest_of_json(written)}
    return (json.dumps(sealed, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def unsealed_json(raw: bytes) -> dict[str, Any]:
    """Read a JSON object that ``sealed_json`` wrote; one without a hash is taken as it is.

    Raises:
        ValueError: it is no JSON object, or its content does not fit its hash.
    """
    content = parse_json(raw.decode("utf-8"))
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    stored = content.pop(_FIELD, None)
    if stored is not None and stored != _digest_of_json(content):
        raise ValueError(
            f'its content does not fit its hash; if you edited it, delete its line "{_FIELD}"'
        )
    return content


def _digest_of_json(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.blake2b(text.encode("ascii"), digest_size=_DIGEST_BYTES).hexdigest()


def _digest(content: bytes, key: str) -> bytes:
    digest = hashlib.blake2b(key.encode("utf-8"), digest_size=_DIGEST_BYTES)
    digest.update(content)
    return digest.digest()
