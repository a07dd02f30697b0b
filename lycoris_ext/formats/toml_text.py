"""TOML on every Python: from 3.11 on it reads TOML itself."""

from __future__ import annotations

import sys
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


def _package() -> Any:
    for name in ("tomli", "toml"):  # sd-scripts has the second one
        with suppress(ModuleNotFoundError):
            return import_module(name)
    raise EnvironmentFault(
        "Python 3.10 reads TOML with the package tomli, which is missing",
        fix='pip install "lycoris-ext[train]"',
    )
