"""Repeats that give every branch of a tree of folders its share of an epoch.

The root's probability 1 is shared among its children, equally or by weights; each of them shares
its own among its children, and so on. A folder with pictures and sub-folders counts its own
pictures as one more child. A picture is then shown as often as its folder's share divided by its
number of pictures says, relative to the picture that is shown least.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from fractions import Fraction
from pathlib import Path

from lycoris_ext.data.folder_tree import FolderTree, Leaf
from lycoris_ext.errors import DataError, Faults
from lycoris_ext.files import read_text_within
from lycoris_ext.os_errors import reason, remedy_for_reading

ROUNDINGS: dict[str, Callable[[Fraction], float]] = {
    "floor": math.floor,
    "nearest": lambda exact: math.floor(exact + Fraction(1, 2)),
    "fractional": lambda exact: round(float(exact), 2),
}
"""Name -> what makes repeats of the exact number. sd-scripts and kohya_ss need whole ones."""


@dataclass(frozen=True)
class Share:
    """What a folder gets of an epoch.

    Args:
        leaf: the folder.
        probability: that a sample of an epoch is one of its pictures.
        exact: how often each picture is to be shown if the least shown one is shown once.
        repeats: ``exact`` after rounding; 0 if the weights leave the folder out.
    """

    leaf: Leaf
    probability: Fraction
    exact: Fraction
    repeats: float

    @property
    def weighted(self) -> float:
        """Number of samples in an epoch with these repeats."""
        return len(self.leaf.pictures) * self.repeats


def balance(
    tree: FolderTree,
    weights: Mapping[str, Fraction] | None = None,
    rounding: str = "floor",
    most: int = 100,
) -> tuple[Share, ...]:
    """Share an epoch among the folders of a tree.

    Args:
        tree: the folders.
        weights: name of a folder, or pattern on its path -> its weight among its neighbours, 1 for
            all others; the name decides before patterns, and the first pattern that fits.
        rounding: a key of ``ROUNDINGS``.
        most: the most repeats that a folder gets.

    Returns:
        The share of every leaf, in their order.

    Raises:
        DataError: no picture is left with a weight above 0.
    """
    root = _Node("", tree.root.as_posix())
    for leaf in tree.leaves:
        root.at(leaf.levels).leaves.append(leaf)
    chances: dict[Path, Fraction] = {}
    root.share(Fraction(1), weights or {}, chances)
    each = {leaf.folder: chances[leaf.folder] / len(leaf.pictures) for leaf in tree.leaves}
    shown = [chance for chance in each.values() if chance]
    if not shown:
        raise DataError(
            "the weights are 0 on every way to a picture", fix="give a folder a weight above 0"
        )
    least = min(shown)
    rounded = ROUNDINGS[rounding]
    shares = []
    for leaf in tree.leaves:
        exact = each[leaf.folder] / least
        shares.append(Share(leaf, chances[leaf.folder], exact, min(rounded(exact), most)))
    return tuple(shares)


@dataclass
class _Node:
    """A folder on the way to the pictures.

    Args:
        name: of its level.
        path: from the root, for patterns.
        children: by name.
        leaves: the folders that hold pictures at this very level; one, unless names of folders
            differ in their repeats alone.
    """

    name: str
    path: str
    children: dict[str, _Node] = field(default_factory=dict)
    leaves: list[Leaf] = field(default_factory=list)

    def at(self, levels: Iterable[str]) -> _Node:
        """Return the node below this one, making those on the way."""
        node = self
        for level in levels:
            node = node.children.setdefault(level, _Node(level, f"{node.path}/{level}"))
        return node

    def share(
        self, chance: Fraction, weights: Mapping[str, Fraction], chances: dict[Path, Fraction]
    ) -> None:
        """Share a probability among the children and the pictures of this level."""
        parts = [(child, child.weight(weights)) for child in self.children.values()]
        own = self.weight(weights) if self.leaves else Fraction(0)
        whole = own + sum((part for _, part in parts), Fraction(0))
        pictures = sum(len(leaf.pictures) for leaf in self.leaves)
        for leaf in self.leaves:
            share = chance * own * len(leaf.pictures)
            chances[leaf.folder] = share / (whole * pictures) if whole else Fraction(0)
        for child, part in parts:
            child.share(chance * part / whole if whole else Fraction(0), weights, chances)

    def weight(self, weights: Mapping[str, Fraction]) -> Fraction:
        """Return the weight of this folder among its neighbours."""
        if self.name in weights:
            return weights[self.name]
        fitting = (weight for pattern, weight in weights.items() if fnmatchcase(self.path, pattern))
        return next(fitting, Fraction(1))


def read_weights(file: Path) -> dict[str, Fraction]:
    """Read weights from a CSV of two columns, a folder's name or a pattern on its path, and weight.

    Raises:
        DataError: the file cannot be read, or a row is no name with a weight of 0 or more; all such
            rows are told.
    """
    try:
        lines = read_text_within(file).splitlines()
        rows = [row for row in csv.reader(lines) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        told = reason(error) if isinstance(error, OSError) else str(error)
        raise DataError(
            f"cannot be read as a CSV ({told})",
            where=str(file),
            fix=remedy_for_reading(error)
            if isinstance(error, OSError)
            else 'write lines such as "screenshots,3", in UTF-8',
        ) from error
    weights: dict[str, Fraction] = {}
    faults = Faults()
    for number, row in enumerate(rows, start=1):
        with faults:
            name, weight = _weight(row, f"{file}, row {number}")
            weights[name] = weight
    faults.raise_all()
    return weights


def _weight(row: Sequence[str], where: str) -> tuple[str, Fraction]:
    try:
        name, text = (cell.strip() for cell in row)
        weight = Fraction(float(text)).limit_denominator(1_000_000)
        if not name or weight < 0:
            raise ValueError
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"{','.join(row)!r:.80} is no name and weight of 0 or more",
            where=where,
            fix='write it as "screenshots,3"',
        ) from error
    return name, weight
