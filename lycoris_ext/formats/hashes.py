"""Hashes of adapters and of base models; sd-scripts' tools know a file again by them.

Source of sd-scripts' own: sd-scripts 48d368f, library/train_util.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from lycoris_ext.formats.container import build_header

#: What sd-scripts' legacy hashes are computed from: 64 kB, one megabyte into the file.
_LEGACY_START, _LEGACY_END = 0x100000, 0x110000
_CHUNK = 1 << 22


def file_hashes(
    tensor_header: Mapping[str, object], data: memoryview, metadata: Mapping[str, str]
) -> dict[str, str]:
    """sd-scripts' two hashes of an adapter file.

    ``sshs_model_hash`` is sha256 over the data. ``sshs_legacy_hash`` is taken from the file as it
    would be with ``ss_*`` as its only metadata, so that later edits of other fields keep it.
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
    """SHA-256 over the content of files, one behind the other, as hex."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while part := file.read(_CHUNK):
                digest.update(part)
    return digest.hexdigest()


def legacy_hash(path: Path) -> str:
    """The short hash by which a checkpoint was once known: of 64 kB, one megabyte into the file."""
    with open(path, "rb") as file:
        file.seek(_LEGACY_START)
        return hashlib.sha256(file.read(_LEGACY_END - _LEGACY_START)).hexdigest()[:8]
