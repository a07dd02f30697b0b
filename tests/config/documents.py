"""Writes the options as tables of docs/training.md and data.md, from what is obeyed.

`python -m tests.config.documents` writes them anew; a test says when that is due.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.pages import cell, filled, table, write
from lycoris_ext.options import Section
from lycoris_ext.tagging.options import TaggingOptions
from lycoris_ext.training.config import section_types
from lycoris_ext.training.optimizer_kinds import optimizer_kinds

PAGE = Path(__file__).resolve().parents[2] / "docs" / "training.md"
BEGIN = "<!-- options: written by tests.config.documents -->"
END = "<!-- end of options -->"
DATA = PAGE.with_name("data.md")
TAGGING = "<!-- options of tagging: written by tests.config.documents -->"


def documents() -> dict[Path, str]:
    """The pages and what they should hold."""
    tagging = "\n".join(options_as_table(TaggingOptions))
    return {
        PAGE: filled(PAGE.read_text("utf-8"), BEGIN, END, options_as_markdown()),
        DATA: filled(DATA.read_text("utf-8"), TAGGING, END, tagging),
    }


def options_as_markdown() -> str:
    """One table a section: option, what it may be, default, what it does."""
    lines = []
    for section, kind in section_types().items():
        about = (kind.__doc__ or "").strip().partition("\n")[0]
        lines += [f"### [{section}]", "", about, "", *options_as_table(kind), ""]
        if section == "optimizer":
            lines += [*optimizers_as_table(), ""]
    return "\n".join(lines[:-1])


def options_as_table(kind: type[Section]) -> list[str]:
    """A table of a section: option, what it may be, default, what it does."""
    rows = [
        (f"`{option.name}`", option.values, _default(option.default), cell(option.text))
        for option in kind.options().values()
    ]
    return table(("option", "value", "default", ""), rows)


def optimizers_as_table() -> list[str]:
    """A table of the optimizers: name, package, memory, options, what each is."""
    rows = [
        (f"`{kind.name}`", f"`{kind.package}`" if kind.package else "no other package",
         f"{kind.state_bytes:g}", ", ".join(f"`{known.name}`" for known in kind.options),
         kind.summary)
        for kind in optimizer_kinds()
    ]  # fmt: skip
    return table(("`optimizer_type`", "needs", "bytes of state a parameter", "reads", ""), rows)


def _default(value: object) -> str:
    if value in (None, "", ()):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    write(documents())
