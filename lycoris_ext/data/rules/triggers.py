"""Rules about the word that a data set teaches: the first tag of nearly all captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from lycoris_ext.data.findings import Code, Finding, Location
from lycoris_ext.data.rules.captioned import COUNTS, tags_of
from lycoris_ext.data.rules.registry import rule
from lycoris_ext.data.scan import FolderContent, Picture, Scan
from lycoris_ext.words import count

FORGOTTEN = Code(
    "LX047", "note", "The tag that nearly all captions of a folder begin with is missing in a few."
)
ORDINARY = Code(
    "LX057", "note", "The word that captions begin with is an ordinary one, or splits badly."
)

_MANY, _NEARLY_ALL = 10, 0.9
_RARE_FROM = 40_000
"""CLIP's tokens are numbered by how often they were met: "cat" is 2368, "sks" 48136."""
_PIECES, _LETTERS = 4, 2
"""A word splits badly into more pieces than that, or into pieces of so few letters."""


@rule(FORGOTTEN)
def captions_without_the_trigger(scan: Scan) -> Iterator[Finding]:
    for found in scan.folders:
        trigger = _trigger(found)
        lacking = [one.path for one in _captioned(found) if trigger and trigger not in tags_of(one)]
        if lacking:
            captions = len(_captioned(found))
            yield FORGOTTEN.finding(
                lacking,
                f'the tag "{trigger}", with which the captions in {found.subset.place.name} begin, '
                f"is missing in {len(lacking)} of {captions}",
                "add it, unless these pictures show something else",
            )


@rule(ORDINARY)
def ordinary_triggers(scan: Scan) -> Iterator[Finding]:
    if scan.token_limit is None or scan.token_limit.clip_ids is None:
        return
    places: dict[str, list[Location]] = {}
    for found in scan.folders:
        trigger = _trigger(found)
        if trigger and trigger.isalpha() and not found.subset.is_reg:
            fault = _fault(trigger, scan.token_limit.clip_ids(trigger))
            if fault:
                places.setdefault(f'"{trigger}" {fault}', []).append(Location(found.subset.place))
    for told, where in places.items():
        yield ORDINARY.finding(
            where,
            f"captions begin with the word {told}",
            "take a rare word, such as a name that is no other word, unless that is meant",
        )


def _fault(word: str, ids: list[int]) -> str:
    if len(ids) == 1 and ids[0] < _RARE_FROM:
        return "which the base model knows in a meaning of its own"
    if len(ids) > _PIECES or (len(ids) > 2 and len(word) < _LETTERS * len(ids)):
        return f"which the text encoder reads in {count(len(ids), 'piece')}"
    return ""


def _captioned(found: FolderContent) -> list[Picture]:
    return [picture for picture in found.pictures if picture.has_caption_file]


def _trigger(found: FolderContent) -> str:
    """Return the tag that nearly all captions of a folder begin with; "" if there is none."""
    pictures = _captioned(found)
    if len(pictures) < _MANY or found.subset.is_reg:
        return ""
    ((first, number),) = Counter(tags_of(one)[0] for one in pictures).most_common(1)
    usual = number >= _NEARLY_ALL * len(pictures) and not COUNTS.fullmatch(first.replace("_", " "))
    return first if usual else ""
