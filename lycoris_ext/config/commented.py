"""Write a config as TOML with a comment above each option that says what it does."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence

from lycoris_ext.formats.toml_text import toml_value
from lycoris_ext.options import Option, holds_tables
from lycoris_ext.training.config import TrainConfig, section_types
from lycoris_ext.words import one_line


def commented_toml(
    config: TrainConfig, heading: Sequence[str] = (), blank: Collection[str] = ()
) -> str:
    """Write the options that differ from their defaults, in the tables of their sections.

    Args:
        config: of a run.
        heading: sentences for the top of the file.
        blank: options whose value the user has yet to fill in, which are written as "".

    Returns:
        TOML; reading it gives the same config, apart from what is blank.
    """
    blocks = ["\n".join(line for text in heading for line in comment(text)) + "\n"]
    for section, kind in section_types().items():
        known = kind.options()
        changed = config.sections()[section]
        changed = {n: v for n, v in changed.items() if n in getattr(config, section).changed()}
        changed |= {name: "" for name in known if name in blank}
        if changed:
            blocks.append("\n".join(_section(section, changed, known)) + "\n")
    return "\n".join(blocks)


def _section(section: str, values: Mapping[str, object], known: Mapping[str, Option]) -> list[str]:
    lines = [f"[{section}]"]
    tables = []
    for name, value in values.items():
        if holds_tables(known[name].hint):
            tables += ["", *comment(known[name].help), *_tables(f"{section}.{name}", value)]
        elif value is not None:
            lines += [*comment(known[name].help), f"{name} = {toml_value(value)}", ""]
    return (lines[:-1] if lines[-1] == "" else lines) + tables


def _tables(heading: str, tables: object) -> Iterator[str]:
    for number, table in enumerate(tables if isinstance(tables, (list, tuple)) else ()):
        if number:
            yield ""
        yield f"[[{heading}]]"
        for name, value in table.items():
            yield f"{name} = {toml_value(value)}"


def comment(text: str) -> list[str]:
    """Break a text into lines of comment, in which TOML allows no control characters."""
    lines = textwrap.wrap(one_line(text).replace("``", ""), 96, break_on_hyphens=False)
    return [f"# {line}" for line in lines]
