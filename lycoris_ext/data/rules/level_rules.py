"""Rules about the file of level_rules: whether its levels are there, and its tags elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lycoris_ext.data.findings import Code, Finding, Location
from lycoris_ext.data.level_rules import LevelRules, PlaceBelow
from lycoris_ext.data.queries import as_compared
from lycoris_ext.data.rules.captioned import tags_of
from lycoris_ext.data.rules.registry import rule
from lycoris_ext.data.scan import Picture, Scan
from lycoris_ext.words import and_more, count, short

LEVEL_RULES = Code(
    "LX070",
    "warning",
    "A rule of level_rules fits no folder, or captions of folders that it does not fit hold the "
    "tag that it adds.",
)


@rule(LEVEL_RULES)
def level_rules_beside_the_folders(scan: Scan) -> Iterator[Finding]:
    for rules, pictures in _pictures_of(scan):
        places = dict.fromkeys(PlaceBelow(one.root, one.path.parent) for one in pictures)
        unused = [one.level for one in rules.unused(places)]
        if unused and rules.file:
            there = dict.fromkeys(level for place in places for level in place.levels)
            yield LEVEL_RULES.finding(
                [Location(rules.file, f"[{short(level, 60)}]") for level in unused],
                f"{count(len(unused), 'rule fits', 'rules fit')} no folder",
                f"the levels are {short(and_more(sorted(there), 20), 400)}",
            )
        yield from _elsewhere(rules, pictures)


def _pictures_of(scan: Scan) -> list[tuple[LevelRules, list[Picture]]]:
    """Return the rules of each file, with the training pictures for which they are."""
    alike: dict[Path, tuple[LevelRules, list[Picture]]] = {}
    for found in scan.folders:
        if found.level_rules.file and found.pictures:
            _, pictures = alike.setdefault(found.level_rules.file, (found.level_rules, []))
            pictures.extend(found.pictures)
    return list(alike.values())


def _captioned(pictures: list[Picture]) -> Iterator[Picture]:
    yield from {one.path: one for one in pictures if one.has_caption_file}.values()


def _elsewhere(rules: LevelRules, pictures: list[Picture]) -> Iterator[Finding]:
    """Tell of the tags that rules add which captions of other folders hold."""
    domains = frozenset().union(*(one.added for one in rules.rules))
    captions: Counter[Path] = Counter()
    held: Counter[tuple[Path, str]] = Counter()
    for one in _captioned(pictures):
        folder = one.path.parent
        fitting = rules.fitting(PlaceBelow(one.root, folder))
        own = frozenset().union(*(found.added for found in fitting))
        captions[folder] += 1
        held.update((folder, tag) for tag in domains & set(map(as_compared, tags_of(one))) - own)
    if held:
        tags = and_more(dict.fromkeys(f'"{short(tag, 40)}"' for _, tag in sorted(held)))
        yield LEVEL_RULES.finding(
            [
                Location(folder, f'"{short(tag, 40)}" in {number:,} of {captions[folder]:,}')
                for (folder, tag), number in sorted(held.items())
            ],
            f"captions hold {tags}, which level_rules adds in other folders alone",
            "let a rule of these folders remove it, or add it there, too, if it is right",
        )
