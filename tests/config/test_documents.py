"""The tables of options in docs/training.md and data.md are written from the code."""

from __future__ import annotations

from lycoris_ext.config import all_options
from lycoris_ext.tagging.options import TaggingOptions
from tests.config.documents import DATA, PAGE, documents


def test_the_tables_of_options_are_up_to_date():
    found = documents()
    for path, text in found.items():
        assert path.read_text("utf-8") == text, "run: python -m tests.config.documents"
    assert all(f"| `{name}` |" in found[PAGE] for name in all_options())
    assert all(f"| `{name}` |" in found[DATA] for name in TaggingOptions.options())
