"""Where a run would write, read from its config before anything is started."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lycoris_ext.errors import ConfigError, EnvironmentFault
from lycoris_ext.formats.toml_text import read_tables
from lycoris_ext.training.run_config import RunConfig

#: Option -> its default; "" is nowhere.
_OPTIONS = {"output_dir": "output", "output_name": "last", "logging_dir": "", "cache_dir": ""}
_NAMES = "|".join(_OPTIONS)


def destinations(config: Path, resolve: Callable[[Path], Path]) -> dict[str, str]:
    """Option -> value of all that decides where a run of this config writes.

    Args:
        config: a TOML file; what it says is meant from its folder on.
        resolve: confines a folder.

    Returns:
        output_dir and output_name; logging_dir and cache_dir where they are set.

    Raises:
        ConfigError: it cannot be read, or holds no folder and no file's name there.
        DataError: from `resolve`.
    """
    values: dict[str, Any] = dict(_OPTIONS)
    try:
        tables = _tables(config.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the config cannot be read: {error}",
            where=str(config),
            fix="save it as valid TOML in UTF-8",
        ) from error
    for table in (tables, *(table for table in tables.values() if isinstance(table, dict))):
        values.update((option, table[option]) for option in values if option in table)
    for option, value in values.items():
        if not isinstance(value, str) or not value.isprintable():
            raise ConfigError(
                f"{option} is {value!r}", where=str(config), fix="write a text in quotes"
            )
    RunConfig(output_name=values["output_name"])  # refuses what is no file's name
    return {
        option: str(resolve(config.parent / os.path.expanduser(value)))
        if option.endswith("_dir")
        else value
        for option, value in values.items()
        if value or _OPTIONS[option]
    }


def _tables(text: str) -> dict[str, Any]:
    try:
        return read_tables(text)
    except EnvironmentFault:
        return _plain_lines(text)


def _plain_lines(text: str) -> dict[str, Any]:
    """The options where each has a line of its own: Python 3.10 alone has no reader of TOML.

    Raises:
        ValueError: they are written in another way.
    """
    found: dict[str, Any] = {}
    for line in text.splitlines():
        plain = re.fullmatch(rf"""\s*({_NAMES})\s*=\s*("[^"\\]*"|'[^']*')\s*(#.*)?""", line)
        if plain and plain[1] not in found:
            found[plain[1]] = plain[2][1:-1]
            continue
        # A # in quotes begins no comment; a key in quotes may spell its letters as \u005f.
        code = re.sub(r"""^([^"'#]*)#.*""", r"\1", line)
        if re.search(rf"""\b({_NAMES})\b|"[^"]*\\[^"]*"\s*=""", code):
            raise ValueError(f"without the package tomli, this line: {line.strip()}")
    return found
