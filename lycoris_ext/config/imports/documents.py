"""Read a config file of any format: TOML, JSON, YAML, a script or a command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from locale import getpreferredencoding
from pathlib import Path
from typing import Any

from lycoris_ext.config.imports.command_line import read_command
from lycoris_ext.config.imports.json_text import read_json
from lycoris_ext.config.imports.yaml_text import parse_yaml, refuse_unwieldy
from lycoris_ext.data.encodings import guess_encodings
from lycoris_ext.errors import ConfigError
from lycoris_ext.files import CONFIG_BYTES, read_within
from lycoris_ext.formats.toml_text import read_tables
from lycoris_ext.os_errors import why_no_text
from lycoris_ext.words import command

Document = Mapping[str, Any]

_BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_OTHER_FILES = {
    ".safetensors": "an adapter (lycoris-ext config FILE writes its config) or a model",
    ".ckpt": "a model",
    ".pt": "a model or an adapter",
    ".ipynb": "a notebook: put its command line (accelerate launch ...) into a .txt file",
    ".png": "a picture",
    ".jpg": "a picture",
    ".zip": "an archive",
}


def read_document(path: Path) -> Document:
    """Read a config file of any program as it is written.

    Args:
        path: a file in TOML, JSON, YAML, or a script or text that holds a command line; the
            ending of its name says which.

    Returns:
        Name -> value, with tables as dicts. Of a command line: option -> text, list of texts, or
        True for a flag without a value.

    Raises:
        ConfigError: the file is missing, is no text, or not of the format that its ending says.
        EnvironmentFault: the file is YAML, and PyYAML is not installed.
    """
    text = read_text(path)
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise ConfigError(
            f"a config cannot end in {suffix or 'nothing'!r}",
            where=str(path),
            fix=f"its format follows from its ending: {', '.join(READERS)}",
        )
    document = READERS[suffix](text, str(path))
    refuse_unwieldy(document, str(path))
    if not isinstance(document, Mapping):
        raise ConfigError(
            "the file holds a list or a single value, no config",
            where=str(path),
            fix="give a file that sets options by their names",
        )
    return document


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, or in UTF-16 with its mark, which Windows' PowerShell writes.

    Scripts may also be in another encoding of Windows, as cmd and older PowerShells want them.

    Raises:
        ConfigError: the file is missing, is a folder, or is no text.
    """
    where = str(path)
    if path.is_dir():
        raise ConfigError(
            "this is a folder, not a config",
            where=where,
            fix=f"{command('lycoris-ext', 'init', path)} writes a config for a folder of pictures",
        )
    if path.suffix.lower() in _OTHER_FILES:
        raise ConfigError(
            f"this is no config but {_OTHER_FILES[path.suffix.lower()]}",
            where=where,
            fix="give a config: " + ", ".join(READERS),
        )
    try:
        raw = read_within(path, CONFIG_BYTES)
        encoding = _BOMS.get(raw[:2], "utf-8-sig")
        if READERS.get(path.suffix.lower()) is read_command:
            with suppress(UnicodeDecodeError):
                return raw.decode(encoding)
            (guess,) = guess_encodings([raw])
            encoding = guess.encoding or getpreferredencoding(False)
        return raw.decode(encoding)
    except FileNotFoundError as error:
        raise ConfigError(
            "there is no such file",
            where=where,
            fix="check the path; lycoris-ext init FOLDER writes a config for a folder of pictures",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        why, fix = why_no_text(error)
        raise ConfigError(f"the file cannot be read ({why})", where=where, fix=fix) from error


def parse_toml_document(text: str, where: str) -> Document:
    """Parse TOML.

    Raises:
        ConfigError: the text is not valid TOML.
    """
    try:
        return read_tables(text)
    except ValueError as error:
        fix = "correct this line"
        if "\\" in text:
            fix += "; Windows paths need / or single quotes: 'C:\\pictures'"
        raise ConfigError(f"no valid TOML: {error}", where=where, fix=fix) from error


def _json(text: str, where: str) -> Any:
    try:
        return read_json(text)
    except ValueError as error:
        fix = "correct this line"
        if "\\" in text:
            fix += r"; Windows paths need / or \\: C:/pictures"
        raise ConfigError(f"no valid JSON: {error}", where=where, fix=fix) from error


READERS: dict[str, Callable[[str, str], Any]] = {
    ".toml": parse_toml_document,
    ".json": _json,
    ".yaml": parse_yaml,
    ".yml": parse_yaml,
    **dict.fromkeys((".sh", ".bat", ".cmd", ".ps1", ".txt", ".env"), read_command),
}
"""Ending of a file's name -> reads its text."""
