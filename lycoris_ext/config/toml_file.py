"""Read a run's TOML: flat as in sd-scripts, or in tables whose names do not matter."""

from __future__ import annotations

from pathlib import Path

from lycoris_ext.config.resolve import OptionSource
from lycoris_ext.errors import ConfigError
from lycoris_ext.formats.toml_text import read_tables


def read_toml(path: Path) -> OptionSource:
    """Read a config file.

    Raises:
        ConfigError: the file is missing, no TOML, or names an option twice.
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
    """The options in a TOML text, flat or in tables.

    Raises:
        ConfigError: it is no TOML, or names an option twice.
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
