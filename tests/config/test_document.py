"""docs/training.md tells every option as the code obeys it."""

from __future__ import annotations

from pathlib import Path

from lycoris_ext.config import all_options
from lycoris_ext.config.document import BEGIN, END, main, updated

PAGE = Path(__file__).resolve().parents[2] / "docs" / "training.md"


def test_the_page_is_up_to_date():
    page = PAGE.read_text("utf-8")
    assert updated(page) == page, f"run: python -m lycoris_ext.config.document {PAGE}"
    assert all(f"| `{name}` |" in page for name in all_options())


def test_only_the_tables_are_written(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(f"before\n{BEGIN}\nwhat was here\n{END}\nafter\n", encoding="utf-8")
    assert main([str(path)]) == 0
    text = path.read_text("utf-8")
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "what was" not in text
    assert "| `lr_scheduler` | a text in quotes | `constant` |" in text
    assert "| `overwrite` | true or false | `false` |" in text
