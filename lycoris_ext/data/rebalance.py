"""Write repeats into a tree of folders, as their names or as multiply.txt, and take them back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lycoris_ext.data.folder_tree import LEVELS, MULTIPLY, FolderTree, Leaf
from lycoris_ext.errors import DataError, EnvironmentFault
from lycoris_ext.files import read_bytes, read_text
from lycoris_ext.formats import atomic_write
from lycoris_ext.os_errors import reason, remedy_for_writing

JOURNAL = "lycoris-ext-balance.json"
"""File in the root that holds what was there before, until it is taken back."""


@dataclass(frozen=True)
class Change:
    """A folder whose repeats change.

    Args:
        leaf: the folder as it is.
        repeats: that it gets.
    """

    leaf: Leaf
    repeats: float

    @property
    def new_folder(self) -> Path:
        """The path of a named folder afterwards."""
        return self.leaf.folder.with_name(f"{self.repeats:g}_{LEVELS.join(self._own_levels)}")

    @property
    def _own_levels(self) -> tuple[str, ...]:
        return self.leaf.levels[-(self.leaf.folder.name.count(LEVELS) + 1) :]


def changes(tree: FolderTree, repeats: Mapping[Path, float]) -> list[Change]:
    """Return the folders whose repeats are not as they are to be.

    Args:
        tree: the folders as they are.
        repeats: folder -> its repeats.

    Raises:
        DataError: the layout cannot hold these repeats.
    """
    wanted = [
        Change(leaf, repeats[leaf.folder])
        for leaf in tree.leaves
        if repeats[leaf.folder] != leaf.repeats
    ]
    if tree.is_nested:
        return wanted
    loose = [one.leaf.folder for one in wanted if one.leaf.folder.parent != tree.root]
    if loose:
        raise DataError(
            "lies deeper than sd-scripts reads, so that its name cannot say repeats",
            where=str(loose[0]),
            fix="move it into the folder that you named, or write a config instead (--config)",
        )
    names = Counter(
        Change(leaf, repeats[leaf.folder]).new_folder.name.casefold() for leaf in tree.leaves
    )
    twice = [one.new_folder.name for one in wanted if names[one.new_folder.name.casefold()] > 1]
    if twice:
        raise DataError(
            f"several folders would be named {twice[0]!r}",
            where=str(tree.root),
            fix="put their pictures into one folder, or write a config instead (--config)",
        )
    broken = [one for one in wanted if one.repeats != int(one.repeats)]
    if broken:
        raise DataError(
            f"{broken[0].repeats:g} repeats are no whole number, which a folder's name needs",
            where=str(broken[0].leaf.folder),
            fix="choose --rounding floor or nearest, or write a config instead (--config)",
        )
    return wanted


def write_repeats(tree: FolderTree, wanted: Sequence[Change]) -> None:
    """Rename the folders, or write their multiply.txt; pictures and captions are not touched.

    What was there before is kept in ``JOURNAL``, of the first of several changes.

    Raises:
        EnvironmentFault: a folder cannot be renamed or written. Those before it have changed, and
            ``take_back`` restores them.
    """
    journal = _Journal.of(tree.root)
    for change in wanted:
        journal.remember(change, nested=tree.is_nested)
    journal.save()
    for change in wanted:
        if tree.is_nested:
            text = f"{change.repeats:g}\n"
            atomic_write(change.leaf.folder / MULTIPLY, text.encode("ascii"))
        else:
            _rename(change.leaf.folder, change.new_folder)


def take_back(root: Path) -> int:
    """Restore names and multiply.txt as they were before ``write_repeats``.

    Returns:
        The number of folders that were restored.

    Raises:
        DataError: nothing is there to take back, or what is there cannot be read.
        EnvironmentFault: a folder cannot be renamed or written.
    """
    journal = _Journal.of(root)
    if not (journal.names or journal.multiply):
        raise DataError(
            "no balance was written here, so there is nothing to take back",
            where=str(root / JOURNAL),
            fix="name the folder that you balanced",
        )
    restored = 0
    for new, old in journal.names.items():
        if (root / new).is_dir():  # it was renamed already if the last try was cut off
            _rename(root / new, root / old)
            restored += 1
    for folder, text in journal.multiply.items():
        file = root / folder / MULTIPLY
        if text is not None:
            atomic_write(file, text.encode("latin-1"))
        else:
            file.unlink(missing_ok=True)
        restored += 1
    journal.path.unlink()
    return restored


@dataclass
class _Journal:
    """What was there before, with paths relative to the root.

    Args:
        root: of the tree.
        names: present folder -> its first one.
        multiply: folder -> the first text of its multiply.txt; None if there was none.
    """

    root: Path
    names: dict[str, str]
    multiply: dict[str, str | None]

    @property
    def path(self) -> Path:
        return self.root / JOURNAL

    @classmethod
    def of(cls, root: Path) -> _Journal:
        try:
            kept = json.loads(read_text(root / JOURNAL))
            return cls(root, dict(kept["names"]), dict(kept["multiply"]))
        except FileNotFoundError:
            return cls(root, {}, {})
        except (OSError, ValueError, KeyError, TypeError) as error:
            told = reason(error) if isinstance(error, OSError) else "it is damaged"
            raise DataError(
                f"cannot be read ({told})",
                where=str(root / JOURNAL),
                fix="delete it; what was there before the last balance can then not be restored",
            ) from error

    def remember(self, change: Change, *, nested: bool) -> None:
        folder = change.leaf.folder.relative_to(self.root).as_posix()
        if nested:
            text = None
            with suppress(FileNotFoundError):
                # latin-1 gives every byte back, whatever they are.
                text = read_bytes(change.leaf.folder / MULTIPLY).decode("latin-1")
            self.multiply.setdefault(folder, text)
        else:
            first = self.names.pop(folder, folder)
            self.names[change.new_folder.relative_to(self.root).as_posix()] = first

    def save(self) -> None:
        kept = {"names": self.names, "multiply": self.multiply}
        atomic_write(self.path, json.dumps(kept, ensure_ascii=False, indent=1).encode("utf-8"))


def _rename(old: Path, new: Path) -> None:
    try:
        if new.exists():
            raise FileExistsError(17, "a folder of that name is there")
        old.rename(new)
    except OSError as error:
        raise EnvironmentFault(
            f"cannot be renamed to {new.name} ({reason(error)})",
            where=str(old),
            fix=remedy_for_writing(error, "close the programs that use the folder"),
        ) from error
