"""TOML on every Python: from 3.11 on it reads TOML itself."""

from __future__ import annotations

import sys
from typing import Any

from lycoris_ext.errors import EnvironmentFault


def read_tables(text: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises:
        ValueError: it is no TOML; the message names the line.
        EnvironmentFault: Python 3.10 without the package tomli.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ModuleNotFoundError as error:
            raise EnvironmentFault(
                "Python 3.10 reads TOML with the package tomli, which is missing",
                fix='pip install "lycoris-ext[train]"',
            ) from error
    tables: dict[str, Any] = tomllib.loads(text)
    return tables
