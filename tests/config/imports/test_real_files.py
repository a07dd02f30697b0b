"""Every config of a folder of real ones is read, and what is none is named for what it is.

LYCORIS_EXT_CONFIGS=FOLDER names it; its files may lie in folders of their own.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lycoris_ext.config import Reading
from lycoris_ext.config.imports import format_of
from lycoris_ext.config.imports.documents import read_document
from lycoris_ext.errors import ConfigError, LycorisExtError
from tests.config.imports.reads import built

FOLDER = os.environ.get("LYCORIS_EXT_CONFIGS", "")
ENDINGS = (".toml", ".json", ".yaml", ".yml", ".sh", ".bat", ".ps1")


def is_named(path: Path) -> bool:
    """Return True if a format recognises a file and says in a sentence what it trains or is."""
    document = read_document(path)
    known = format_of(document)
    if known is not None:
        try:
            known.read(document, str(path))
        except ConfigError as error:
            return len(error.parts) == 1 and bool(error.fix)
    return False


@pytest.mark.skipif(not FOLDER, reason="LYCORIS_EXT_CONFIGS names no folder of configs")
def test_every_config_is_built_or_refused_in_one_list_and_built_without_what_is_unsupported():
    files = [path for path in sorted(Path(FOLDER).rglob("*")) if path.suffix.lower() in ENDINGS]
    assert files
    wrong = []
    for path in files:
        if is_named(path):
            continue
        reading = Reading()
        try:
            built(path, reading)
        except LycorisExtError as error:
            if not reading.refused:
                wrong.append(f"{path}: {error}")
        try:
            built(path, Reading(skip_unsupported=True))
        except LycorisExtError as error:
            wrong.append(f"{path}: without what is not supported: {error}")
    assert not wrong, "\n".join(wrong)
