"""Edits of the tags of captions: add, remove, rename, and replace text inside of them.

An edit is a function of the tags of a picture. They come in sections, which are what stands before,
between and behind the marks of keep_tokens_separator; without such marks there is one section.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lycoris_ext.data.captions import CaptionOptions
from lycoris_ext.data.queries import Pattern, as_compared

Tags = list[str]
Sections = list[Tags]


class Place(Protocol):
    """Where a picture stands in the data set."""

    @property
    def folder(self) -> Path: ...
    @property
    def levels(self) -> tuple[str, ...]: ...
    @property
    def concepts(self) -> tuple[str, ...]: ...


Edit = Callable[[Sections, Place], Sections]


def split_tags(line: str, options: CaptionOptions) -> Sections:
    """Split a line of a caption into its tags, without empty ones."""
    mark = options.keep_tokens_separator
    parts = line.split(mark) if mark else [line]
    return [
        [tag for tag in map(str.strip, part.split(options.caption_separator)) if tag]
        for part in parts
    ]


def edited(caption: str, options: CaptionOptions, edits: Sequence[Edit], place: Place) -> str:
    """Return a caption with edits of its tags; as it was if they change no tag.

    Args:
        caption: one line, or several of which enable_wildcard draws one; each of them is edited.
        options: those of the picture's subset, which say what stands between tags.
        edits: one after the other.
        place: of the picture.
    """
    return "\n".join(_edited(line, options, edits, place) for line in caption.split("\n"))


def _edited(line: str, options: CaptionOptions, edits: Sequence[Edit], place: Place) -> str:
    before = split_tags(line, options)
    after = before
    for edit in edits:
        after = edit(after, place)
    if after == before:
        return line
    parts = [options.between_tags.join(tags) for tags in after]
    return f" {options.keep_tokens_separator} ".join(parts).strip()


@dataclass(frozen=True)
class Add:
    """Adds a tag that is not there, at the end of the caption or at its beginning."""

    tag: str
    first: bool = False

    def __call__(self, sections: Sections, place: Place) -> Sections:
        there = {as_compared(tag) for tags in sections for tag in tags}
        if as_compared(self.tag) in there:
            return sections
        if self.first:
            return [[self.tag, *sections[0]], *sections[1:]]
        return [*sections[:-1], [*sections[-1], self.tag]]


@dataclass(frozen=True)
class Remove:
    """Removes the tags that fit a pattern."""

    pattern: Pattern

    def __call__(self, sections: Sections, place: Place) -> Sections:
        return keep(sections, lambda tag: not self.pattern.fits_tag(tag))


@dataclass(frozen=True)
class Rename:
    """Gives the tags that fit a pattern another name, or removes them where that is there."""

    pattern: Pattern
    new: str

    def __call__(self, sections: Sections, place: Place) -> Sections:
        there = {tag for tags in sections for tag in tags if not self.pattern.fits_tag(tag)}
        made: Sections = []
        for tags in sections:
            made.append([])
            for tag in tags:
                if not self.pattern.fits_tag(tag):
                    made[-1].append(tag)
                elif self.new not in there:
                    there.add(self.new)
                    made[-1].append(self.new)
        return made


@dataclass(frozen=True)
class Replace:
    """Replaces a text inside of all tags, and drops tags of which nothing is left."""

    old: str
    new: str

    def __call__(self, sections: Sections, place: Place) -> Sections:
        changed = [[tag.replace(self.old, self.new).strip() for tag in tags] for tags in sections]
        return keep(changed, bool)


@dataclass(frozen=True)
class RemoveListed:
    """Removes tags that a list holds.

    Args:
        tags: as ``as_compared`` returns them.
    """

    tags: Collection[str]

    def __call__(self, sections: Sections, place: Place) -> Sections:
        return keep(sections, lambda tag: as_compared(tag) not in self.tags)


@dataclass(frozen=True)
class RemoveOverlaps:
    """Removes tags that say less than another one in the same caption.

    Args:
        inside: also those that are a part of another tag, as "hair" is of "long hair".
        implied: tag -> tags that imply it, as ``as_compared`` returns them.

    Source: anime_screenshot_pipeline c9e3fb8, drop_overlap_tags.
    """

    inside: bool
    implied: dict[str, frozenset[str]]

    def __call__(self, sections: Sections, place: Place) -> Sections:
        there = {as_compared(tag) for tags in sections for tag in tags}

        def says_more(tag: str) -> bool:
            if self.implied.get(tag, frozenset()) & there:
                return True
            return self.inside and any(tag in other and tag != other for other in there)

        return keep(sections, lambda tag: not says_more(as_compared(tag)))


@dataclass(frozen=True)
class RemoveOfConcepts:
    """Removes the tags that belong to the concepts that a picture shows.

    Args:
        core: concept -> tags as ``as_compared`` returns them.
    """

    core: dict[str, frozenset[str]]

    def __call__(self, sections: Sections, place: Place) -> Sections:
        dropped = {tag for one in place.concepts for tag in self.core.get(one, ())}
        return keep(sections, lambda tag: as_compared(tag) not in dropped)


def keep(sections: Iterable[Tags], wanted: Callable[[str], bool]) -> Sections:
    """Return the sections with the tags that are wanted."""
    return [[tag for tag in tags if wanted(tag)] for tags in sections]
