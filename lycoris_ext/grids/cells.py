"""Pictures filed under all that decides them, so that none is drawn twice.

On disk a file is named by its cell's key and holds its own text; nothing else has to be kept in
step with it, and any file may be deleted. In memory pictures last as long as the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

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
    parameters: str = ""
    fault: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.picture.size


@dataclass(frozen=True)
class StoredCell:
    """A picture on disk, with what `Painted` says of it."""

    key: str
    path: Path
    parameters: str
    fault: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels; only the file's head is read."""
        with Image.open(self.path) as file:
            return file.size

    @property
    def picture(self) -> Image.Image:
        """RGB, read anew each time."""
        with Image.open(self.path) as file:
            return file.convert("RGB")


class Kept(Protocol):
    """A picture of a grid, wherever it is kept; `Painted` and `StoredCell` are such."""

    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def picture(self) -> Image.Image: ...
    @property
    def parameters(self) -> str: ...
    @property
    def fault(self) -> str: ...


KeptCell = TypeVar("KeptCell", bound=Kept)
_Found = TypeVar("_Found", bound=Kept, covariant=True)


class Store(Protocol[_Found]):
    """Where a grid's pictures are kept: `CellStore` on disk, `MemoryStore` in memory."""

    def find(self, key: str) -> _Found | None:
        """The picture of this key, or None."""

    def keep(self, key: str, painted: Painted) -> _Found:
        """Keep a picture; one with a fault is never found again."""


class MemoryStore:
    """Keeps pictures as long as it lives: for a grid of which one picture is all that is wanted."""

    def __init__(self) -> None:
        self._cells: dict[str, Painted] = {}

    def find(self, key: str) -> Painted | None:
        """The picture of this key, or None."""
        return self._cells.get(key)

    def keep(self, key: str, painted: Painted) -> Painted:
        """Keep a picture; one with a fault is never found again."""
        if not painted.fault:
            self._cells[key] = painted
        return painted


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
        return StoredCell(key, path, painted.parameters, painted.fault)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key[:40]}.png"
