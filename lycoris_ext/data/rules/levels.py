"""Rules about the tree of folders: what its levels and concepts have unlike their neighbours."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path
from statistics import median_high

from lycoris_ext.data.findings import Code, Finding, Location
from lycoris_ext.data.folder_tree import CONCEPTS, LEVELS
from lycoris_ext.data.rules.captioned import captioned, tags_of
from lycoris_ext.data.rules.registry import rule
from lycoris_ext.data.scan import Picture, Scan
from lycoris_ext.words import and_more, count

FOREIGN = Code(
    "LX049",
    "warning",
    "A tag that is called like one folder is in the captions of a folder that excludes it.",
)
UNBALANCED = Code(
    "LX055", "note", "A folder is shown five times more or less often than those beside it."
)
ONE_DOMAIN = Code(
    "LX056", "note", "A concept is in one of several folders, while others are in more of them."
)
CASE = Code("LX058", "warning", "Names of levels or concepts differ in capitals alone.")

_UNBALANCED = 5
_NEARLY_ALL, _FEWEST = 0.9, 3
"""A tag belongs to a folder if this part of its captions, and so many at least, have it."""
_ALIKE, _PART = 5, 0.6
"""A tag is called like a folder if they share so many letters in a row, and this part of a name."""

Levels = tuple[str, ...]


@rule(FOREIGN)
def tags_of_excluded_folders(scan: Scan) -> Iterator[Finding]:
    common = _common_tags(scan)
    leaves = {
        levels: set.intersection(*(common.get(folder, set()) for folder in folders))
        for levels, folders in _folders(scan).items()
    }
    branches = sorted({levels[:depth] for levels in leaves for depth in range(1, len(levels) + 1)})
    for branch in branches:
        inside = [tags for levels, tags in leaves.items() if levels[: len(branch)] == branch]
        beside = [
            levels
            for levels in leaves
            if levels[: len(branch)] != branch and levels[: len(branch) - 1] == branch[:-1]
        ]
        for tag in sorted(set.intersection(*inside)):
            if not _called_like(tag, branch[-1]):
                continue
            wrong = [
                folder
                for levels in beside
                if tag in leaves[levels] and not any(_called_like(tag, level) for level in levels)
                for folder in _folders(scan)[levels]
            ]
            if wrong:
                yield FOREIGN.finding(
                    wrong,
                    f'the tag "{tag}", which is called like the folder {branch[-1]}, is in the '
                    f"captions of {count(len(wrong), 'folder')} beside it",
                    "take it out of these captions, or rename it if it means something else",
                )


@rule(UNBALANCED)
def unbalanced_folders(scan: Scan) -> Iterator[Finding]:
    samples: dict[Levels, float] = defaultdict(float)
    places: dict[Levels, Path] = {}
    for picture in _training(scan):
        if picture.is_held_out:
            continue
        levels = scan.levels(picture)
        places.setdefault(levels, picture.path.parent)
        for depth in range(1, len(levels) + 1):
            samples[levels[:depth]] += picture.repeats
    beside: dict[Levels, list[float]] = defaultdict(list)
    for levels, number in samples.items():
        beside[levels[:-1]].append(number)
    found = []
    for levels, number in sorted(samples.items()):
        # One figure for all folders of a level; of two folders, the rarer one is told.
        usual = median_high(beside[levels[:-1]])
        if not usual / _UNBALANCED < number < usual * _UNBALANCED:
            place = places.get(levels, Path(LEVELS.join(levels)))
            found.append(Location(place, f"samples an epoch: {number:g}, usually {usual:g}"))
    if found:
        yield UNBALANCED.finding(
            found,
            f"{count(len(found), 'folder is', 'folders are')} shown five times more or less often "
            "than those beside",
            "lycoris-ext dataset balance shows repeats that even this out",
        )


@rule(ONE_DOMAIN)
def concepts_of_one_domain(scan: Scan) -> Iterator[Finding]:
    domains: dict[Levels, dict[str, set[str]]] = {}
    for levels in _folders(scan):
        if len(levels) > 1:
            for concept in filter(None, levels[-1].split(CONCEPTS)):
                parent = domains.setdefault(levels[:-2], {})
                parent.setdefault(concept, set()).add(levels[-2])
    for concepts in domains.values():
        known = set().union(*concepts.values())
        single = {name: where for name, where in concepts.items() if len(where) == 1}
        if len(known) > 1 and 0 < len(single) <= len(concepts) - len(single):
            told = and_more(f"{name} only in {min(where)}" for name, where in single.items())
            yield ONE_DOMAIN.finding(
                [],
                f"{count(len(single), 'concept is', 'concepts are')} in one folder alone, while "
                f"others are in several ({told})",
                "expect that the concept looks like that folder, or add pictures of another kind",
            )


@rule(CASE)
def names_in_several_cases(scan: Scan) -> Iterator[Finding]:
    names: dict[str, dict[str, Path]] = {}
    for levels, folders in _folders(scan).items():
        for level in levels:
            for name in level.split(CONCEPTS):
                names.setdefault(name.casefold(), {}).setdefault(name, folders[0])
    for spellings in names.values():
        if len(spellings) > 1:
            told = ", ".join(f'"{name}"' for name in spellings)
            yield CASE.finding(
                spellings.values(),
                f"names of levels differ in capitals alone: {told}",
                "write the name in one way, if it is one thing",
            )


def _training(scan: Scan) -> list[Picture]:
    return [picture for picture in scan.pictures if not picture.is_reg]


def _folders(scan: Scan) -> dict[Levels, list[Path]]:
    """Return the levels of all training pictures, with the folders that have them."""
    places = {picture.path.parent: scan.levels(picture) for picture in _training(scan)}
    found: dict[Levels, list[Path]] = {}
    for folder, levels in places.items():
        found.setdefault(levels, []).append(folder)
    return found


def _common_tags(scan: Scan) -> dict[Path, set[str]]:
    """Return the tags that nearly all captions of a folder have."""
    tags: dict[Path, Counter[str]] = defaultdict(Counter)
    captions: Counter[Path] = Counter()
    for picture in captioned(scan):
        tags[picture.path.parent].update(set(tags_of(picture)))
        captions[picture.path.parent] += 1
    return {
        folder: {
            tag
            for tag, number in found.items()
            if number >= max(_FEWEST, _NEARLY_ALL * captions[folder])
        }
        for folder, found in tags.items()
    }


def _called_like(tag: str, folder: str) -> bool:
    """Tell whether a tag and a folder share a part of their names: aniscreen, screenshots."""
    a, b = (name.replace("_", " ").casefold() for name in (tag, folder))
    size = SequenceMatcher(None, a, b, autojunk=False).find_longest_match(0, len(a), 0, len(b)).size
    return size >= _ALIKE and size >= _PART * min(len(a), len(b))
