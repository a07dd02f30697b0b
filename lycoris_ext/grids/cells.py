"""Pictures filed under all that decides them, so that none is drawn twice.

A file is named by its cell's key and holds its own text; nothing else has to be kept in step with
it, and any file may be deleted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lycoris_ext.plots.png import read_parameters, save_picture


@dataclass(frozen=True)
class Painted:
    """What a painter made of a cell.

    Args:
        picture: RGB.
        parameters: the text under it.
        fault: why it does not show what it should, in words; empty: it was checked and does.
    """

    picture: Image.Image
    parameters: str
    fault: str = ""


@dataclass(frozen=True)
class StoredCell:
    """A picture on disk."""

    key: str
    path: Path
    parameters: str
    fault: str = ""
    fresh: bool = False


class CellStore:
    """A folder of pictures by key.

    Args:
        folder: made when the first picture is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, key: str) -> StoredCell | None:
        """The picture of this key; a damaged file counts as none."""
        path = self._path(key)
        try:
            parameters = read_parameters(path)
            with Image.open(path) as picture:
                picture.verify()
        except (OSError, SyntaxError, ValueError):  # Pillow's own names for a broken PNG
            return None
        return StoredCell(key, path, parameters)

    def keep(self, key: str, painted: Painted) -> StoredCell:
        """Write a picture; one with a fault lies aside and is never found again.

        Raises:
            EnvironmentFault: the disk is full or the folder cannot be written.
        """
        path = self._path(key)
        if painted.fault:
            path = self.folder / "faulty" / path.name
        save_picture(path, painted.picture, painted.parameters)
        return StoredCell(key, path, painted.parameters, painted.fault, fresh=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key[:40]}.png"
