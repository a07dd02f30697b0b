"""Caption sets: other captions for the same pictures, kept beside the originals.

The caption that the set "pruned" has for ``pictures/10_cat/a.png`` is the file
``pictures/10_cat/caption_sets/pruned/a.txt``, in UTF-8. A picture that has no file there keeps its
own caption, so that a set holds only what differs. Nothing here or elsewhere writes to the
originals.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lycoris_ext.data.findings import Location
from lycoris_ext.data.picture_files import list_folder
from lycoris_ext.errors import ConfigError
from lycoris_ext.runs.paths import as_file_name

SETS = "caption_sets"
"""Name of the folder beside pictures that holds a folder for each set."""
ENDING = ".txt"


def set_file(picture: Path, name: str) -> Path:
    """Return the file in which a set keeps the caption of a picture, whether it exists or not."""
    return picture.parent / SETS / name / f"{picture.stem}{ENDING}"


def sets_beside(folder: Path) -> list[str]:
    """Return the names of the caption sets in a folder of pictures, sorted."""
    inside = list_folder(folder / SETS)[0]
    return [path.name for path in inside if path.is_dir()]


def sets_of(folders: Iterable[Path]) -> dict[str, int]:
    """Return set -> number of captions in it, over several folders of pictures."""
    found: dict[str, int] = {}
    for folder in dict.fromkeys(folders):
        for name in sets_beside(folder):
            files = list_folder(folder / SETS / name)[0]
            found[name] = found.get(name, 0) + sum(map(_is_caption, files))
    return dict(sorted(found.items()))


def check_set_name(name: str, where: str) -> None:
    """Check that folders of this name can be made on every system.

    Raises:
        ConfigError: they cannot.
    """
    wanted = as_file_name(name)
    if not wanted or wanted != name or name.startswith("."):
        near = wanted.lstrip(".")
        raise ConfigError(
            f"{name!r} cannot be the name of a caption set, which is the name of a folder",
            where=where,
            fix=f"use a name such as {near!r}" if near else 'use a name such as "pruned"',
        )


@dataclass
class SetFinder:
    """Finds the files in which caption sets keep the captions of pictures.

    Args:
        names: of the sets; where several hold a caption, that of the first counts.

    Attributes:
        faults: folders of sets that cannot be read, each with the reason.
    """

    names: Sequence[str]
    faults: list[Location] = field(default_factory=list)
    _files: dict[Path, dict[str, Path]] = field(default_factory=dict)

    def find(self, picture: Path) -> Path | None:
        """Return the file that holds the caption of a picture; None if no set has one."""
        folder = picture.parent
        if folder not in self._files:
            self._files[folder] = self._list(folder)
        return self._files[folder].get(os.path.normcase(picture.stem))

    def _list(self, folder: Path) -> dict[str, Path]:
        found: dict[str, Path] = {}
        if not self.names or not (folder / SETS).is_dir():
            return found
        for name in reversed(self.names):
            place = folder / SETS / name
            paths, fault = list_folder(place)
            if fault and place.exists():
                self.faults.append(Location(place, fault))
            found |= {os.path.normcase(path.stem): path for path in paths if _is_caption(path)}
        return found


def _is_caption(path: Path) -> bool:
    return path.suffix.lower() == ENDING
