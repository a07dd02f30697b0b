"""Which folders may be read and written: those that the host allows, and nothing above them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.runs.paths import FORBIDDEN_IN_NAMES
from lycoris_ext.words import short

#: Names that Windows keeps for itself, whatever their ending.
_RESERVED = {"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10))}
#: A comma separates the names of networks in what the host writes into a picture.
_FORBIDDEN = {*FORBIDDEN_IN_NAMES, ","}
_LONGEST = 120


class NotAllowed(DataError):
    """A path leads out of the allowed folders."""


class Places:
    """Confines paths to some folders.

    Args:
        folders: asked each time, since settings change; those that do not exist are left out.
    """

    def __init__(self, folders: Callable[[], Sequence[Path]]) -> None:
        self._folders = folders

    def folders(self) -> list[Path]:
        """The allowed folders, links followed, each once."""
        found = [Path(os.path.realpath(folder)) for folder in self._folders()]
        return [folder for folder in dict.fromkeys(found) if folder.is_dir()]

    def resolve(self, text: str | Path) -> Path:
        """A path inside an allowed folder, links followed.

        Raises:
            NotAllowed: it leads elsewhere; whether something is there is not told.
        """
        if not str(text).strip() or "\0" in str(text):
            raise NotAllowed("no path is given", where="path", fix="name a folder or a file")
        folders = self.folders()
        path = Path(os.path.abspath(os.path.expanduser(str(text).strip())))
        # First by its text alone: to look at \\host\share is to call that host.
        written = [Path(os.path.abspath(folder)) for folder in self._folders()]
        if _inside(path, [*folders, *written]):
            path = Path(os.path.realpath(path))
            if _inside(path, folders):
                return path
        allowed = ", ".join(str(folder) for folder in folders)
        raise NotAllowed(
            "this is not inside a folder that the host allows",
            where=str(text),
            fix=f"use one of: {allowed}; or add a folder under Settings > LyCORIS Ext",
        )


def _inside(path: Path, folders: Sequence[Path]) -> bool:
    return any(path == folder or folder in path.parents for folder in folders)


def clean_name(text: str) -> str:
    """A name for a file that every system takes, as it was given.

    Raises:
        ConfigError: it is empty, too long, or has characters that paths or prompts give a meaning.
    """
    name = text.strip()
    bad = sorted({letter for letter in name if letter in _FORBIDDEN or not letter.isprintable()})
    if (
        not name
        or bad
        or len(name) > _LONGEST
        or name[0] == "."
        or name[-1] in ". "
        or name.split(".")[0].lower() in _RESERVED
    ):
        raise ConfigError(
            f"{short(name, 40)!r} cannot be a file's name"
            + (f": it holds {' '.join(bad)}" if bad else ""),
            where="name",
            fix="use letters, digits, spaces, - and _",
        )
    return name
