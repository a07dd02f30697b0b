"""Choose the path of a new config without overwriting a file."""

from __future__ import annotations

from pathlib import Path

from lycoris_ext.errors import ConfigError


def unused_path(output: Path | None, name: str) -> Path:
    """Return the path given with --output, or else ./NAME.toml.

    Raises:
        ConfigError: a file of that path exists already.
    """
    path = output or Path(f"{name}.toml")
    if path.exists():
        raise ConfigError(
            "this file exists already and is not overwritten",
            where=str(path),
            fix="choose another name with --output, or delete the file",
        )
    return path
