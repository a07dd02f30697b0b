"""The tables of options in docs/training.md are written from the code."""

from __future__ import annotations

from lycoris_ext.config import all_options
from tests.config.documents import documents


def test_the_tables_of_options_in_docs_training_are_up_to_date():
    ((path, text),) = documents().items()
    assert path.read_text("utf-8") == text, "run: python -m tests.config.documents"
    assert all(f"| `{name}` |" in text for name in all_options())
