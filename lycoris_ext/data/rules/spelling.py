"""A rule about tags that are written in several ways."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from lycoris_ext.data.findings import Code, Finding
from lycoris_ext.data.rules.captioned import captioned, tags_of
from lycoris_ext.data.rules.registry import rule
from lycoris_ext.data.scan import Scan
from lycoris_ext.words import and_more, count

VARIANTS = Code("LX046", "note", "A tag is written in several ways, which count as several tags.")

_WORDS = 4
"""Longer tags are sentences, which rarely stand twice."""
_LETTERS = re.compile(r"[^\W\d_]{3}")
"""What a tag has that is no emoticon and no number."""
_ONE_LETTER = re.compile(r"\W*[^\W\d_]\W*")
_FREQUENT, _RARE, _LONG = 20, 0.02, 8
"""A slip of the pen has that many letters, and is at most this part of a tag of so many."""


@rule(VARIANTS)
def tags_in_several_spellings(scan: Scan) -> Iterator[Finding]:
    counted = Counter(tag for picture in captioned(scan) for tag in set(tags_of(picture)))
    used = Counter(
        {
            tag: number
            for tag, number in counted.items()
            if _LETTERS.search(tag) and len(tag.split()) <= _WORDS
        }
    )
    groups = [*_same_letters(used), *_slips(used)]
    if groups:
        told = and_more(
            (" = ".join(f'"{tag}" ({used[tag]:,})' for tag in group) for group in groups), 5
        )
        yield VARIANTS.finding(
            [],
            f"{count(len(groups), 'tag is', 'tags are')} written in several ways: {told}",
            "write each tag in one way",
        )


def _same_letters(used: Counter[str]) -> Iterator[list[str]]:
    """Yield tags that differ in capitals, spaces, hyphens and underscores alone.

    A last word of one letter is another one as a capital: the letter A, vitamin C.
    """
    groups: dict[str, list[str]] = {}
    for tag, _ in used.most_common():
        *words, last = re.split(r"[-_\s]+", tag)
        last = last if words and _ONE_LETTER.fullmatch(last) else last.casefold()
        same = " ".join([*(word.casefold() for word in words), last])
        groups.setdefault(same, []).append(tag)
    yield from (group for group in groups.values() if len(group) > 1)


def _slips(used: Counter[str]) -> Iterator[list[str]]:
    """Yield a frequent tag and a rare one that has a letter too few, too many, or two swapped.

    Another letter in place of one makes too many real words (skirt, shirt), as an s does.
    """
    frequent = {tag for tag, number in used.items() if number >= _FREQUENT and len(tag) >= _LONG}
    forms = {form: tag for tag in sorted(frequent) for form in _swapped(tag) | _shortened(tag)}
    for tag, number in used.items():
        meant = forms.get(tag) or next(iter(sorted(_shortened(tag) & frequent)), None)
        if meant and tag not in frequent and number <= max(1, _RARE * used[meant]):
            yield [meant, tag]


def _shortened(tag: str) -> set[str]:
    """Return a tag without any one of its letters, but for an s, a digit or a space."""
    return {
        tag[:at] + tag[at + 1 :]
        for at, letter in enumerate(tag)
        if letter.isalpha() and letter != "s"
    }


def _swapped(tag: str) -> set[str]:
    pairs = ((tag[:at], tag[at], tag[at + 1], tag[at + 2 :]) for at in range(len(tag) - 1))
    return {a + second + first + z for a, first, second, z in pairs if first != second}
