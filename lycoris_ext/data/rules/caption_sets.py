"""Rules about caption sets: named and not there, there and not used, or used in part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from lycoris_ext.data.caption_sets import SETS, sets_of
from lycoris_ext.data.findings import Code, Finding
from lycoris_ext.data.rules.registry import rule
from lycoris_ext.data.scan import FolderContent, Scan
from lycoris_ext.words import and_more, count

ABSENT_SET = Code("LX071", "error", "No folder has the caption set that is named.")
UNUSED_SET = Code("LX072", "note", "Caption sets lie beside pictures, and none is used.")
OWN_CAPTIONS = Code(
    "LX073", "note", "The caption set has no caption for some pictures, which keep their own."
)


@rule(ABSENT_SET)
def absent_caption_sets(scan: Scan) -> Iterator[Finding]:
    for name, folders in _named(scan).items():
        if any(found.pictures for found in folders) and not sets_of(_places(folders)).get(name):
            there = sets_of(_places(scan.folders))
            others = f"name one that is there: {and_more(there, 10)}" if there else _HOW_TO_MAKE
            yield ABSENT_SET.finding(
                [found.subset.place / SETS / name for found in folders],
                f"there is no caption in the caption set {name!r}",
                others,
            )


@rule(UNUSED_SET)
def unused_caption_sets(scan: Scan) -> Iterator[Finding]:
    without = [found for found in scan.folders if not found.subset.caption_sets]
    there = sets_of(_places(without))
    if there:
        names = and_more((f"{name} ({number:,})" for name, number in there.items()), 10)
        yield UNUSED_SET.finding(
            [],
            f"caption sets lie beside the pictures and are not used: {names}",
            f'caption_set = "{next(iter(there))}" trains with that one',
        )


@rule(OWN_CAPTIONS)
def captions_beside_a_set(scan: Scan) -> Iterator[Finding]:
    named = _named(scan)
    folders = {id(found): found for alike in named.values() for found in alike}.values()
    number = sum(len(found.pictures) for found in folders)
    own = number - sum(found.from_set for found in folders)
    if own and sets_of(_places(folders)):
        has = "has no caption" if len(named) == 1 else "have no captions"
        keep = "keeps its own" if own == 1 else "keep their own"
        yield OWN_CAPTIONS.finding(
            [],
            f"the caption set {and_more(named)} {has} for {own:,} of {count(number, 'picture')}, "
            f"which {keep}",
        )


_HOW_TO_MAKE = "correct the name, or make the set with lycoris-ext dataset tags"


def _named(scan: Scan) -> dict[str, list[FolderContent]]:
    """Return caption set -> the folders of training pictures that are to use it."""
    named: dict[str, list[FolderContent]] = {}
    for found in scan.folders:
        for name in () if found.subset.is_reg else found.subset.caption_sets:
            named.setdefault(name, []).append(found)
    return named


def _places(folders: Iterable[FolderContent]) -> list[Path]:
    return [picture.path.parent for found in folders for picture in found.pictures]
