"""Reading and writing TOML: Python can read it only from version 3.11 on, and cannot write it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

from lycoris_ext.errors import EnvironmentFault

_MOST_PARTS = 50
#: A name of many parts, for which `tomllib` takes the square of their number: a.b."c".d.e...
_MANY_PARTS = re.compile(
    rf"""(?<![\w"'-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){{{_MOST_PARTS}}}"""
)


def read_tables(text: str) -> dict[str, Any]:
    """Parse a TOML text.

    Returns:
        Name -> value; a table is a dict.

    Raises:
        ValueError: the text is no TOML; the message names the line.
        EnvironmentFault: this is Python 3.10, and neither tomli nor toml is installed.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        tomllib = _package()
    line = _MANY_PARTS.search(text)
    if line:
        number = text.count("\n", 0, line.start()) + 1
        raise ValueError(f"line {number} has a name of more than {_MOST_PARTS} parts")
    try:
        tables: dict[str, Any] = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("its values are nested too deeply") from error
    return tables


def toml_value(value: object) -> str:
    """Write a value as TOML.

    Args:
        value: a number, bool or text, or a list, tuple or mapping of such values; anything else is
            written as its text.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} = {toml_value(v)}" for name, v in value.items()) + "}"
    text = str(value)
    if "\\" in text and "'" not in text and text.isprintable():
        return f"'{text}'"  # patterns and paths of Windows can be read without double backslashes
    # A JSON string is a TOML string, except that TOML wants DEL escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _package() -> Any:
    for name in ("tomli", "toml"):  # sd-scripts has the second one
        with suppress(ModuleNotFoundError):
            return import_module(name)
    raise EnvironmentFault(
        "Python 3.10 reads TOML with the package tomli, which is missing",
        fix="pip install tomli",
    )
