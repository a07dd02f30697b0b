"""Cache a grid's pictures under a hash of everything that decides them, so none is drawn twice.

`CellStore` keeps PNG files, named by their key and with their parameters inside. There is no index
beside them, so any file may be deleted. `MemoryStore` keeps pictures as long as the object lives.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from PIL import Image

from lycoris_ext.files import open_file
from lycoris_ext.plots.png import BROKEN, PARAMETERS, read_texts, save_picture

_KEY = re.compile(r"[0-9a-f]{40,64}")
#: The text in a picture's file that says of which cell it is.
_OWN_KEY = "lycoris_ext_cell"


@dataclass(frozen=True)
class Painted:
    """A cell's picture as a painter drew it.

    Args:
        picture: RGB.
        parameters: the generation parameters as text, in AUTOMATIC1111's form.
        fault: why the picture does not show what the cell asks for; "" if it was checked and does.
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
    """A cell's picture in a file of `CellStore`; parameters and fault are those of `Painted`."""

    key: str
    path: Path
    parameters: str
    fault: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, read from the file's header."""
        with open_file(self.path) as file, Image.open(file, formats=["PNG"]) as picture:
            return picture.size

    @property
    def picture(self) -> Image.Image:
        """The RGB picture, read from the file at every access."""
        with open_file(self.path) as file, Image.open(file, formats=["PNG"]) as picture:
            return picture.convert("RGB")


class CellPicture(Protocol):
    """A cell's picture, in memory (`Painted`) or in a file (`StoredCell`)."""

    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def picture(self) -> Image.Image: ...
    @property
    def parameters(self) -> str: ...
    @property
    def fault(self) -> str: ...


AnyPicture = TypeVar("AnyPicture", bound=CellPicture)
_Found = TypeVar("_Found", bound=CellPicture, covariant=True)


class Store(Protocol[_Found]):
    """A cache of a grid's pictures: `CellStore` on disk or `MemoryStore` in memory."""

    def find(self, key: str) -> _Found | None:
        """Return the picture stored under a key, or None."""

    def keep(self, key: str, painted: Painted) -> _Found:
        """Store a picture and return it as stored; `find` never returns one with a fault."""


class MemoryStore:
    """A cache in memory, for a grid that is not continued after the program ends."""

    def __init__(self) -> None:
        self._cells: dict[str, Painted] = {}

    def find(self, key: str) -> Painted | None:
        """Return the picture stored under a key, or None."""
        return self._cells.get(key)

    def keep(self, key: str, painted: Painted) -> Painted:
        """Store a picture, unless it has a fault, and return it."""
        if not painted.fault:
            self._cells[key] = painted
        return painted


class CellStore:
    """A cache of PNG files in a folder, named by their keys.

    Args:
        folder: the folder; it is made when the first picture is stored.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, key: str) -> StoredCell | None:
        """Return the picture stored under a key; None if it is missing, damaged or another's."""
        return self._read(key)

    def kept(self, key: str, fault: str = "") -> StoredCell | None:
        """Return a picture as `keep` returned it; None if it is missing, damaged or another's.

        Args:
            key: the picture's key. A grid.json may come from elsewhere: for what is no key, and
                could be a path, the answer is None.
            fault: what was wrong with it.
        """
        return self._read(key, fault) if _KEY.fullmatch(key) else None

    def keep(self, key: str, painted: Painted) -> StoredCell:
        """Write a picture; one with a fault goes to the subfolder "faulty", which `find` ignores.

        Raises:
            EnvironmentFault: the disk is full or the folder cannot be written.
        """
        path = self._path(key, painted.fault)
        save_picture(path, painted.picture, painted.parameters, {_OWN_KEY: path.stem})
        return StoredCell(key, path, painted.parameters, painted.fault)

    def remove(self, keys: Iterable[str]) -> None:
        """Delete the pictures of these keys; one that is held open stays.

        A grid.json may come from elsewhere: what is no key, and could be a path, is passed over.
        """
        own = [key for key in keys if _KEY.fullmatch(key)]
        for path in {self._path(key, fault) for key in own for fault in ("", "x")}:
            with suppress(OSError):
                path.unlink()

    def _read(self, key: str, fault: str = "") -> StoredCell | None:
        path = self._path(key, fault)
        try:
            texts = read_texts(path)
            with open_file(path) as file, Image.open(file, formats=["PNG"]) as picture:
                picture.verify()  # each part of a PNG has a checksum
        except BROKEN:
            return None
        # A file that was copied over another's is whole; those of version 0.1.0 hold no key.
        is_own = texts.get(_OWN_KEY, path.stem) == path.stem
        return StoredCell(key, path, texts.get(PARAMETERS, ""), fault) if is_own else None

    def _path(self, key: str, fault: str = "") -> Path:
        folder = self.folder / "faulty" if fault else self.folder
        return folder / f"{key[:40]}.png"
