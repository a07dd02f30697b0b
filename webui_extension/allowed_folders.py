"""Keep every path inside the folders that the host allows, and every name valid for a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.os_errors import reason, remedy_for_reading
from lycoris_ext.runs.paths import FORBIDDEN_IN_NAMES, is_file_name
from lycoris_ext.words import short

#: The host separates the names of networks by commas in a picture's metadata.
_FORBIDDEN = {*FORBIDDEN_IN_NAMES, ","}
_LONGEST = 120
#: File systems count up to 255 bytes, endings and those of unfinished files included.
_MOST_BYTES = 180
_LONGEST_PATH = 4096


class NotAllowed(DataError):
    """A path lies outside the allowed folders."""


class AllowedFolders:
    """Accepts paths inside some folders and refuses all others.

    Args:
        folders: returns the allowed folders. It is called at every check, because the user may
            change them in the settings; folders that do not exist are ignored.
        told: whether messages may name the folders to whoever asks.
    """

    def __init__(
        self, folders: Callable[[], Sequence[Path]], told: Callable[[], bool] = lambda: True
    ) -> None:
        self._folders = folders
        self._told = told

    def folders(self) -> list[Path]:
        """Return the allowed folders that exist, with symbolic links resolved, each once."""
        found = [Path(os.path.realpath(folder)) for folder in self._folders()]
        return [folder for folder in dict.fromkeys(found) if folder.is_dir()]

    def resolve(self, text: str | Path) -> Path:
        """Return an absolute path with symbolic links resolved, if an allowed folder holds it.

        Raises:
            NotAllowed: the path is empty, lies outside every allowed folder, or is none that
                this system could open. The message does not reveal whether a path outside exists.
        """
        if not str(text).strip():
            raise NotAllowed("the path is empty", where="path", fix="name a folder or a file")
        if len(str(text)) > _LONGEST_PATH or not _is_text(str(text)):
            raise NotAllowed(
                "no file can have this path", where=short(str(text), 60), fix="correct it"
            )
        folders = self.folders()
        path = Path(os.path.abspath(os.path.expanduser(str(text).strip())))
        # Compare the text first: resolving \\host\share would already contact that host.
        written = [Path(os.path.abspath(folder)) for folder in self._folders()]
        if _inside(path, [*folders, *written]):
            path = Path(os.path.realpath(path))
            if _inside(path, folders):
                _refuse_impossible(path)
                return path
        allowed = ", ".join(str(folder) for folder in folders)
        raise NotAllowed(
            "this path is not inside a folder that the host allows",
            where=short(str(text), 300),
            fix=f"use one of: {allowed}; or add a folder under Settings > LyCORIS Ext"
            if self._told()
            else "ask the owner of this host for a folder; they are under Settings > LyCORIS Ext",
        )


def _is_text(text: str) -> bool:
    """Whether a text has no NUL and no half characters, which no name of a file can hold."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _refuse_impossible(path: Path) -> None:
    """Refuse a path that fails whatever one asks of it, such as one with too long a name."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return  # whoever opens it says so
    except OSError as error:
        raise NotAllowed(
            f"no file can have this path ({reason(error)})",
            where=short(str(path), 300),
            fix=remedy_for_reading(error),
        ) from error


def _inside(path: Path, folders: Sequence[Path]) -> bool:
    return any(path == folder or folder in path.parents for folder in folders)


def clean_name(text: str) -> str:
    """Return a file name without surrounding spaces, if every operating system accepts it.

    Raises:
        ConfigError: the name is empty, too long, reserved, or holds characters that have a
            meaning in paths or prompts.
    """
    name = text.strip()
    bad = sorted({letter for letter in name if letter in _FORBIDDEN or not letter.isprintable()})
    too_long = len(name) > _LONGEST or len(name.encode("utf-8", "replace")) > _MOST_BYTES
    if bad or too_long or name.startswith(".") or not is_file_name(name):
        raise ConfigError(
            f"{short(name, 40)!r} cannot be a file's name"
            + (f": it holds {' '.join(bad)}" if bad else ": it is too long" if too_long else ""),
            where="name",
            fix="use fewer letters" if too_long else "use letters, digits, spaces, - and _",
        )
    return name
