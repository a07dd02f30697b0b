"""Read config files in TOML: without tables as in sd-scripts, or in tables of any names."""

from __future__ import annotations

from pathlib import Path

from lycoris_ext.config.resolve import OptionSource
from lycoris_ext.errors import ConfigError
from lycoris_ext.formats.toml_text import read_tables


def read_toml(path: Path) -> OptionSource:
    """Read the options in a config file; they are not checked yet.

    Raises:
        ConfigError: the file is missing, is not valid TOML, or sets an option twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(
            "there is no such file",
            where=str(path),
            fix="lycoris-ext init FOLDER writes one for a folder of pictures",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the file cannot be read ({error})", where=str(path), fix="save it as UTF-8"
        ) from error
    return parse_toml(text, str(path))


def parse_toml(text: str, where: str) -> OptionSource:
    """Read the options in a TOML text; they are not checked yet.

    Args:
        text: TOML, with or without tables.
        where: the file's name, for messages.

    Raises:
        ConfigError: the text is not valid TOML, or sets an option twice.
    """
    try:
        tables = read_tables(text)
    except ValueError as error:
        fix = "correct this line"
        if "\\" in text:
            fix += "; Windows paths need / or single quotes: 'C:\\pictures'"
        raise ConfigError(f"no valid TOML: {error}", where=where, fix=fix) from error
    values: dict[str, object] = {}
    for name, value in tables.items():
        for option, setting in value.items() if isinstance(value, dict) else [(name, value)]:
            if option in values:
                raise ConfigError(f"{option} is set twice", where=where, fix="remove one of them")
            values[option] = setting
    return OptionSource(where, values)
