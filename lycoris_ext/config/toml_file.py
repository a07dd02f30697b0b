"""Read config files in TOML: without tables as in sd-scripts, or in tables of any names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lycoris_ext.config.imports.documents import Document, parse_toml_document, read_text
from lycoris_ext.config.resolve import OptionSource
from lycoris_ext.errors import ConfigError


def read_toml(path: Path) -> OptionSource:
    """Read the options in a config of this library; they are not checked yet.

    ``read_config`` reads those of other programs, too.

    Raises:
        ConfigError: the file is missing, is not valid TOML, or sets an option twice.
    """
    return parse_toml(read_text(path), str(path))


def parse_toml(text: str, where: str) -> OptionSource:
    """Read the options in a TOML text; they are not checked yet.

    Args:
        text: TOML, with or without tables.
        where: the file's name, for messages.

    Raises:
        ConfigError: the text is not valid TOML, or sets an option twice.
    """
    return OptionSource(where, without_tables(parse_toml_document(text, where), where))


def without_tables(document: Document, where: str, *, last_wins: bool = False) -> dict[str, object]:
    """Put the options of all tables of a document side by side.

    Args:
        document: option -> value, or table -> option -> value.
        where: the file's name, for messages.
        last_wins: as sd-scripts: of an option that is set twice the last value holds; and its
            dataset_config's table [general] stays a table.

    Raises:
        ConfigError: an option is set twice, or a table holds tables.
    """
    values: dict[str, object] = {}
    for name, value in document.items():
        if not isinstance(value, Mapping):
            values[name] = value
            continue
        if last_wins and name == "general" and "datasets" in document:
            values[name] = value
            continue
        for option, setting in value.items():
            if isinstance(setting, Mapping):
                raise ConfigError(
                    f"[{name}.{option}] is a table within a table, which is of no format that is "
                    "known here",
                    where=where,
                    fix="write its options below a heading of one word, such as [training]",
                )
            if option in values and not last_wins:
                raise ConfigError(f"{option} is set twice", where=where, fix="remove one of them")
            values[option] = setting
    return values
