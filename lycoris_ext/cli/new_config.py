"""Choose the path of a new config without overwriting a file."""

from __future__ import annotations

from pathlib import Path

from lycoris_ext.errors import ConfigError
from lycoris_ext.runs.paths import as_file_name

_ENDING = ".toml"


def new_config(output: Path | None, name: str) -> Path:
    """Return the path of a new config: the one given with --output, or else ./NAME.toml.

    A folder is taken as the place of the file, and .toml is added to a name that lacks it, because
    `train` tells configs by this ending.

    Raises:
        ConfigError: a file of that path exists already.
    """
    own = f"{file_name(name)}{_ENDING}"
    path = Path(own) if output is None else output / own if output.is_dir() else output
    if path.suffix.lower() != _ENDING:
        path = path.with_name(path.name + _ENDING)
    return unused_path(path)


def unused_path(path: Path) -> Path:
    """Return a path of which there is no file.

    Raises:
        ConfigError: a file of that path exists already.
    """
    if path.exists():
        raise ConfigError(
            "this file exists already and is not overwritten",
            where=str(path),
            fix="choose another name with --output, or delete the file",
        )
    return path


def file_name(text: str) -> str:
    """Make a name that files may have on every system of a text, such as the name of a folder."""
    return as_file_name("".join(c if c.isprintable() else "_" for c in text)) or "lora"
