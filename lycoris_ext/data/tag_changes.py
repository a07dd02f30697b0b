"""What edits of tags change in a caption set, before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lycoris_ext.data.caption_sets import set_file
from lycoris_ext.data.config import DataConfig
from lycoris_ext.data.findings import raise_if_errors
from lycoris_ext.data.folder_tree import LEVELS, concepts_in, levels_below
from lycoris_ext.data.queries import Query, as_compared
from lycoris_ext.data.rules import captions as rules_of_captions
from lycoris_ext.data.rules import folders as rules_of_folders
from lycoris_ext.data.scan import Picture, Scan, read_folders
from lycoris_ext.data.subset import SubsetEntry
from lycoris_ext.data.tag_edits import Edit, edited, split_tags
from lycoris_ext.errors import ConfigError


@dataclass(frozen=True)
class Captioned:
    """A picture with its caption, as queries and edits see it.

    Args:
        picture: the file and its options.
        levels: of its folder.
        count: returns the number of tokens of a text; None if that is not known.
    """

    picture: Picture
    levels: tuple[str, ...]
    count: Callable[[str], int] | None = None

    @property
    def caption(self) -> str:
        return self.picture.caption if self.picture.has_caption_file else ""

    @cached_property
    def tags(self) -> list[str]:
        sections = split_tags(self.caption.partition("\n")[0], self.picture.subset)
        return [tag for tags in sections for tag in tags]

    @property
    def free_tags(self) -> list[str]:
        """The tags without those that keep their place, and without the names of concepts."""
        subset = self.picture.subset
        sections = split_tags(self.caption.partition("\n")[0], subset)
        free = sections[1] if len(sections) > 1 else sections[0][subset.keep_tokens :]
        names = set(map(_squeezed, self.concepts))
        return [tag for tag in free if _squeezed(tag) not in names]

    @property
    def names(self) -> tuple[str, ...]:
        return self.picture.path.name, self.picture.path.stem

    @property
    def path(self) -> str:
        return self.picture.path.as_posix()

    @property
    def folder(self) -> Path:
        return self.picture.path.parent

    @property
    def folders(self) -> tuple[str, ...]:
        return *self.levels, LEVELS.join(self.levels), self.folder.name

    @property
    def concepts(self) -> tuple[str, ...]:
        return concepts_in(self.levels)

    @cached_property
    def tokens(self) -> int:
        if self.count is None:
            raise ConfigError(
                "the tokens of captions cannot be counted here",
                where="tokens:",
                fix="install the extra [train], or select by chars: or tags:",
            )
        return self.count(self.caption)


@dataclass(frozen=True)
class Change:
    """A caption that becomes another one.

    Args:
        one: the picture.
        before: as a training with the set would have it now.
        after: what the set is to hold.
    """

    one: Captioned
    before: str
    after: str

    @property
    def lost(self) -> list[str]:
        """The tags that are no longer there."""
        return [tag for tag in self._tags(self.before) if tag not in self._tags(self.after)]

    @property
    def new(self) -> list[str]:
        """The tags that were not there."""
        return [tag for tag in self._tags(self.after) if tag not in self._tags(self.before)]

    def file(self, name: str) -> Path:
        """Return the file of a set that holds the new caption."""
        return set_file(self.one.picture.path, name)

    def _tags(self, caption: str) -> list[str]:
        subset = self.one.picture.subset
        lines = caption.split("\n")
        return [tag for line in lines for tags in split_tags(line, subset) for tag in tags]


def read_captioned(
    config: DataConfig, place: Path, name: str, count: Callable[[str], int] | None = None
) -> list[Captioned]:
    """Read the captions of a data set, each picture once, without those of regularisation.

    Args:
        config: the folders.
        place: the folder or config that was asked for; levels begin there or at the roots.
        name: of the caption set that is read; "": the originals.
        count: returns the number of tokens of a text.

    Raises:
        ConfigError: no folder of training pictures is given.
        DataError: a folder or a caption cannot be read; all of them are told.
    """
    scan = read_folders(with_set(config, name))
    unreadable = (
        *rules_of_folders.unreadable_folders(scan),
        *rules_of_captions.unreadable_captions(scan),
    )
    raise_if_errors(unreadable)
    return list(_captioned(scan, place, count))


def with_set(config: DataConfig, name: str) -> DataConfig:
    """Return a config that reads whole captions of a set, as its files have them."""
    return everywhere(config, caption_set=name, caption_mode="all", level_rules="")


def everywhere(config: DataConfig, **wanted: Any) -> DataConfig:
    """Return a config with these values of options, in all of its folders."""
    tables = config.subsets and tuple(
        SubsetEntry(**one.changed() | wanted) for one in config.subsets
    )
    return replace(config, subsets=tables, **wanted)


def find_changes(
    target: Sequence[Captioned],
    source: Sequence[Captioned],
    query: Query | None,
    edits: Sequence[Edit],
) -> tuple[list[Change], int]:
    """Return what edits change in a set.

    Args:
        target: the pictures, with the captions that the set has now.
        source: the same pictures, with the captions that are edited. Those that are not selected
            are put into the set, too, where they differ.
        query: selects pictures; None: all.
        edits: of those that are selected.

    Returns:
        The changes, one for each file of the set, and the number of selected pictures.
    """
    found: dict[Path, Change] = {}
    selected = 0
    for old, one in zip(target, source, strict=True):
        after = one.caption
        if query is None or query.fits(one):
            selected += 1
            after = edited(after, one.picture.subset, edits, one)
        if after != old.caption:
            # Pictures of one name with different endings share a caption file.
            found.setdefault(set_file(one.picture.path, ""), Change(one, old.caption, after))
    return list(found.values()), selected


def _squeezed(name: str) -> str:
    """Return a name without capitals, spaces and underscores: OyamaMahiro is oyama_mahiro."""
    return as_compared(name).replace(" ", "")


def _captioned(scan: Scan, place: Path, count: Callable[[str], int] | None) -> Iterator[Captioned]:
    levels: dict[Path, tuple[str, ...]] = {}
    training = {one.path: one for one in scan.pictures if not one.is_reg}
    for path, picture in training.items():
        folder = path.parent
        if folder not in levels:
            root = place if folder.is_relative_to(place) else picture.root
            levels[folder] = levels_below(root, folder)
        yield Captioned(picture, levels[folder], count)
