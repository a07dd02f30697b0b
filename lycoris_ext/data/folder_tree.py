"""The folders of a data set as a tree: levels, concepts, repeats and pictures.

Two layouts are read. Named folders, as sd-scripts has them: ``3_characters~fanart~Anisphia+Tilty``
are pictures shown 3 times an epoch, at the levels "characters", "fanart" and "Anisphia+Tilty", with
the concepts "Anisphia" and "Tilty". Nested folders, as EveryDream2 has them: each folder is a
level, and a file ``multiply.txt`` says how often the pictures beside it are shown; with a fraction
such as 0.5 an epoch shows a part of them, drawn anew.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lycoris_ext.data.picture_files import is_left_out, is_picture_name
from lycoris_ext.errors import DataError, Faults
from lycoris_ext.files import cannot_read, open_file

NAMED_FOLDER = re.compile(r"(\d+)_(.*)")
LEVELS = "~"
"""What stands between the levels in the name of a folder."""
CONCEPTS = "+"
"""What stands between the concepts of one folder."""
MULTIPLY = "multiply.txt"
MAX_MULTIPLY = 10_000


@dataclass(frozen=True)
class Leaf:
    """A folder that holds pictures.

    Args:
        folder: its path.
        levels: from the root to it, such as ("characters", "fanart", "Anisphia+Tilty"); () for the
            root itself.
        repeats: number of times that an epoch shows each picture; 0.5 shows half of them.
        pictures: the names of its picture files, sorted.
    """

    folder: Path
    levels: tuple[str, ...]
    repeats: float
    pictures: tuple[str, ...]

    @property
    def name(self) -> str:
        """The levels in one text; the folder's name if there are none."""
        return LEVELS.join(self.levels) or self.folder.name

    @property
    def concepts(self) -> tuple[str, ...]:
        """What the pictures show, such as ("Anisphia", "Tilty")."""
        return tuple(filter(None, self.levels[-1].split(CONCEPTS))) if self.levels else ()

    @property
    def weighted(self) -> float:
        """Number of samples in an epoch: pictures times repeats."""
        return len(self.pictures) * self.repeats


@dataclass(frozen=True)
class FolderTree:
    """All folders with pictures below a root.

    Args:
        root: the folder that was named.
        is_nested: whether folders are levels; else the names of folders hold repeats and levels.
        leaves: the folders with pictures, sorted by their levels.
    """

    root: Path
    is_nested: bool
    leaves: tuple[Leaf, ...]


def read_tree(root: Path) -> FolderTree:
    """Read the tree of folders below a root, without opening a picture.

    The folders are nested if one of them has a multiply.txt, or if no folder in the root that is
    named ``<repeats>_<name>`` holds pictures.

    Raises:
        DataError: a folder or a multiply.txt cannot be read, or there is no picture at all.
    """
    found = {folder: names for folder, names in _walk(root) if names}
    multiplied = any(MULTIPLY in names for names in found.values())
    named = any(
        folder.parent == root and NAMED_FOLDER.fullmatch(folder.name) and _pictures(names)
        for folder, names in found.items()
    )
    nested = multiplied or not named
    leaves, faults = [], Faults()
    for folder, names in found.items():
        pictures = _pictures(names)
        if pictures:
            with faults:
                leaves.append(_leaf(root, folder, pictures, names, nested=nested))
    faults.raise_all()
    if not leaves:
        raise DataError(
            "there is no picture in this folder or below it", where=str(root), fix="check the path"
        )
    return FolderTree(root, nested, tuple(sorted(leaves, key=lambda leaf: leaf.levels)))


def has_multiply(root: Path) -> bool:
    """Tell whether there is a multiply.txt in a folder or anywhere below it.

    Raises:
        DataError: a folder cannot be read.
    """
    return any(MULTIPLY in names for _, names in _walk(root))


def read_multiply(folder: Path) -> float:
    """Return the number in a folder's multiply.txt; 1 if there is no such file.

    Raises:
        DataError: the file cannot be read, or holds no number from 0 to ``MAX_MULTIPLY``.
    """
    file = folder / MULTIPLY
    try:
        with open_file(file) as stream:
            text = stream.read(64).decode("utf-8-sig", "replace").strip().replace("\r", "\n")
    except FileNotFoundError:
        return 1
    except OSError as error:
        raise cannot_read(file, error) from error
    try:
        number = float(text.partition("\n")[0])
    except ValueError:
        number = math.nan
    if not 0 <= number <= MAX_MULTIPLY:
        raise DataError(
            f"holds {text!r:.70}, expected a number from 0 to {MAX_MULTIPLY}",
            where=str(file),
            fix="write a number such as 2 or 0.5 into it, or delete it",
        )
    return number


def levels_in(name: str) -> tuple[float, tuple[str, ...]]:
    """Return the repeats and the levels in the name of a folder: "3_a~b" -> 3, ("a", "b")."""
    match = NAMED_FOLDER.fullmatch(name)
    repeats, rest = (int(match[1]), match[2]) if match else (1, name)
    return repeats, tuple(level.strip() for level in rest.split(LEVELS))


def levels_below(root: Path, folder: Path) -> tuple[str, ...]:
    """Return the levels of a folder; repeats stand in the names of folders in the root alone."""
    parts = folder.relative_to(root).parts
    own = levels_in(parts[0] if parts else folder.name)[1] if len(parts) < 2 else parts
    return tuple(level for part in own for level in part.split(LEVELS))


def concepts_in(levels: Sequence[str]) -> tuple[str, ...]:
    """Return what pictures of a folder show, by its levels: ("a", "b+c") -> ("b", "c")."""
    return tuple(filter(None, levels[-1].split(CONCEPTS))) if levels else ()


def _leaf(
    root: Path, folder: Path, pictures: tuple[str, ...], names: frozenset[str], *, nested: bool
) -> Leaf:
    parts = folder.relative_to(root).parts
    if nested or not parts:
        levels = tuple(level for part in parts for level in part.split(LEVELS))
        repeats = read_multiply(folder) if MULTIPLY in names else 1
        return Leaf(folder, levels, repeats, pictures)
    repeats, own = levels_in(parts[-1])
    return Leaf(folder, (*parts[:-1], *own), repeats, pictures)


def _walk(root: Path) -> Iterator[tuple[Path, frozenset[str]]]:
    """Yield every folder and the names of the pictures and of multiply.txt in it.

    Hidden folders are left out. Links to folders are followed, but not into a folder above them.
    """
    waiting = [(root, frozenset({os.path.realpath(root)}))]
    while waiting:
        folder, above = waiting.pop()
        names = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if is_left_out(entry.name):
                        continue
                    if entry.is_dir():
                        place = os.path.realpath(entry.path)
                        if place not in above:
                            waiting.append((Path(entry.path), above | {place}))
                    elif entry.name == MULTIPLY or is_picture_name(entry.name):
                        names.append(entry.name)
        except OSError as error:
            raise cannot_read(folder, error, what="the folder ") from error
        yield folder, frozenset(names)


def _pictures(names: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(names - {MULTIPLY}))
