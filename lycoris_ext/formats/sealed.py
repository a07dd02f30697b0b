"""Content with its own hash before it, so that a reader notices every changed bit."""

from __future__ import annotations

import hashlib

_DIGEST_BYTES = 32


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


def _digest(content: bytes, key: str) -> bytes:
    digest = hashlib.blake2b(key.encode("utf-8"), digest_size=_DIGEST_BYTES)
    digest.update(content)
    return digest.digest()
