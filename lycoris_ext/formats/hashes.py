"""Hashes of adapters and base models, by which sd-scripts' tools and AUTOMATIC1111 know a file.

Source of sd-scripts' hashes: sd-scripts 48d368f, library/train_util.py.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lycoris_ext.files import open_file
from lycoris_ext.formats.container import build_header

#: The bytes of a file that the legacy hashes are computed from: 64 kB after the first megabyte.
_LEGACY_START, _LEGACY_END = 0x100000, 0x110000
_CHUNK = 1 << 22

HASH_KEY = "sshs_model_hash"
"""The metadata field with the SHA-256 of the tensors' bytes, as sd-scripts writes it."""
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class HashCheck:
    """The comparison of a file's data with the hash in its metadata.

    Args:
        stored: ``sshs_model_hash`` of the metadata; empty if there is none.
        computed: SHA-256 of the data, as hex.
        agrees: whether both are equal; None if there is no stored hash that can be compared.
    """

    stored: str
    computed: str
    agrees: bool | None


def can_be_compared(stored: str) -> bool:
    """Return whether a stored hash is a SHA-256 of the data.

    lycoris-lora writes one of the tensors one by one, in an order that a file does not keep; it
    begins with 0x.
    """
    return _SHA256.fullmatch(stored.lower()) is not None


def compare(stored: str, computed: str) -> HashCheck:
    """Compare the hash that a file's metadata hold with that of its data."""
    agrees = stored.lower() == computed if can_be_compared(stored) else None
    return HashCheck(stored, computed, agrees)


def file_hashes(
    tensor_header: Mapping[str, object], data: memoryview, metadata: Mapping[str, str]
) -> dict[str, str]:
    """Compute the two hashes that sd-scripts stores in the metadata of an adapter file.

    ``sshs_model_hash`` is the SHA-256 of the data. ``sshs_legacy_hash`` is computed as if the file
    had no metadata but ``ss_*``, so that later edits of other fields do not change it.

    Args:
        tensor_header: the header's entries for the tensors, as ``container.serialize`` gives them.
        data: the bytes of the tensors.
        metadata: of the file, without these two hashes.

    Returns:
        Both hashes by their metadata keys, as hex.
    """
    header = build_header(
        tensor_header, {key: text for key, text in metadata.items() if key.startswith("ss_")}
    )
    start = max(0, _LEGACY_START - len(header))
    end = max(0, _LEGACY_END - len(header))
    digest = hashlib.sha256(header[_LEGACY_START:_LEGACY_END])
    digest.update(data[start:end])
    return {
        "sshs_model_hash": hashlib.sha256(data).hexdigest(),
        "sshs_legacy_hash": digest.hexdigest()[:8],
    }


def sha256_of_files(*paths: Path) -> str:
    """Return the SHA-256 of the concatenated content of some files, as hex."""
    digest = hashlib.sha256()
    for path in paths:
        with open_file(path) as file:
            while part := file.read(_CHUNK):
                digest.update(part)
    return digest.hexdigest()


def legacy_hash(path: Path) -> str:
    """Return the first 8 hex digits of the SHA-256 of 64 kB after a file's first megabyte.

    Old versions of AUTOMATIC1111 and sd-scripts name a checkpoint by it.
    """
    with open_file(path) as file:
        file.seek(_LEGACY_START)
        return hashlib.sha256(file.read(_LEGACY_END - _LEGACY_START)).hexdigest()[:8]
