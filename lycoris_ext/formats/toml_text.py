"""TOML read and written; Python reads it from 3.11 on, and writes it never."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

from lycoris_ext.errors import EnvironmentFault


def read_tables(text: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises:
        ValueError: it is no TOML; the message names the line.
        EnvironmentFault: Python 3.10 without the packages tomli and toml.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        tomllib = _package()
    tables: dict[str, Any] = tomllib.loads(text)
    return tables


def toml_value(value: object) -> str:
    """A value as TOML writes it: a number, true or false, a text, or a list or table of those."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} = {toml_value(v)}" for name, v in value.items()) + "}"
    # JSON's strings are TOML's basic strings, but for DEL, which TOML wants escaped.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _package() -> Any:
    for name in ("tomli", "toml"):  # sd-scripts has the second one
        with suppress(ModuleNotFoundError):
            return import_module(name)
    raise EnvironmentFault(
        "Python 3.10 reads TOML with the package tomli, which is missing",
        fix='pip install "lycoris-ext[train]"',
    )
