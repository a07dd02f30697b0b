"""Rules about the text of captions that is trained as it stands, and may not be meant so."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lycoris_ext.data.findings import Code, Finding, Location
from lycoris_ext.data.rules.captioned import captioned, tags_of
from lycoris_ext.data.rules.registry import rule
from lycoris_ext.data.scan import Picture, Scan
from lycoris_ext.words import count, short

REPEATED = Code("LX023", "note", "A caption has the same tag twice, or nothing between two commas.")
WEIGHT = Code(
    "LX024", "note", "A caption holds a weight such as (tag:1.2), which is read as plain text."
)
UNDERSCORE = Code(
    "LX025", "note", "Captions hold several tags with underscores, as booru sites write them."
)

_WEIGHT = re.compile(r"\([^()]+:\s*(?:\d+(?:\.\d+)?|\.\d+)\s*\)")
_UNDERSCORE = re.compile(r"(?<![^\W_])[^\W_]{2,}_[^\W_]|[^\W_]_\(")
"""long_hair and saber_(fate), but no emoticons such as ^_^ and o_o."""


@rule(REPEATED)
def repeated_and_empty_tags(scan: Scan) -> Iterator[Finding]:
    found = [(picture, told) for picture in captioned(scan) if (told := _odd_tag(picture))]
    if found:
        yield REPEATED.finding(
            [Location(picture.path, told) for picture, told in found],
            f"{count(len(found), 'caption has', 'captions have')} tags twice or empty, which are "
            "trained as they are",
        )


@rule(WEIGHT)
def weights_in_captions(scan: Scan) -> Iterator[Finding]:
    if scan.token_limit is None or scan.token_limit.weighted:
        return
    found = [(picture, told) for picture in captioned(scan) if (told := _first(_WEIGHT, picture))]
    if found:
        yield WEIGHT.finding(
            [Location(picture.path, told) for picture, told in found],
            f"{count(len(found), 'caption holds', 'captions hold')} weights, which are "
            "read as plain text",
            "set weighted_captions = true, or take the weights out",
        )


@rule(UNDERSCORE)
def underscores_in_captions(scan: Scan) -> Iterator[Finding]:
    tags = {p.path: [*filter(_UNDERSCORE.search, tags_of(p))] for p in captioned(scan)}
    found = [Location(path, short(held[0], 40)) for path, held in tags.items() if held]
    # A single one is a trigger word rather than a habit of the tool that wrote the captions.
    if len({tag for held in tags.values() for tag in held}) > 1:
        yield UNDERSCORE.finding(
            found,
            f"{count(len(found), 'caption writes', 'captions write')} tags with "
            "underscores, which are trained as they are",
            "use them in prompts, too, or replace them by spaces",
        )


def _odd_tag(picture: Picture) -> str:
    """Name a tag that stands twice, or the place of an empty one; "" if there is neither.

    An empty tag at the end, after the last comma, is a habit of many tools and changes nothing.
    """
    seen: set[str] = set()
    tags = tags_of(picture)
    for number, tag in enumerate(tags):
        if not tag and number < len(tags) - 1:
            return f"nothing before comma {number + 1}"
        if tag in seen and tag:
            return f'"{short(tag, 40)}" twice'
        seen.add(tag)
    return ""


def _first(pattern: re.Pattern[str], picture: Picture) -> str:
    match = pattern.search(picture.caption)
    return short(match[0], 40) if match else ""
