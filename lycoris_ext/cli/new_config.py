"""Where a config is written that a subcommand makes: at a free place."""

from __future__ import annotations

from pathlib import Path

from lycoris_ext.errors import ConfigError


def free_place(output: Path | None, name: str) -> Path:
    """The file that --output names, or ./NAME.toml.

    Raises:
        ConfigError: it is there already.
    """
    place = output or Path(f"{name}.toml")
    if place.exists():
        raise ConfigError(
            "this file exists already and is not overwritten",
            where=str(place),
            fix="choose another name with --output, or delete the file",
        )
    return place
