"""Rules about captions: missing, unreadable, or only partly used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lycoris_ext.data.caption_files import ALLOW_MISSING, advice_on_endings
from lycoris_ext.data.field_files import field_file
from lycoris_ext.data.findings import Code, Finding, Location
from lycoris_ext.data.rules.registry import rule
from lycoris_ext.data.scan import FolderContent, Picture, Scan
from lycoris_ext.data.token_limit import TokenLimit
from lycoris_ext.formats.families import LONGEST_TEXT
from lycoris_ext.words import and_more, count, short

MISSING = Code(
    "LX009",
    "error",
    "A training picture has no caption; only a warning if allow_missing_captions or class_tokens "
    "gives it one.",
)
UNREADABLE = Code("LX010", "error", "A caption file cannot be read, or is not UTF-8.")
SEVERAL_LINES = Code(
    "LX011", "warning", "A caption file has several lines, of which only the first is used."
)
CUT = Code(
    "LX018",
    "warning",
    "A caption has more tokens than max_token_length, and the text encoder does not read the rest.",
)

ORPHAN = Code("LX045", "note", "A caption file has no picture of its name.")
EQUAL = Code("LX048", "note", "All captions of a folder are the same text.")

_MANY = 10
"""From so many captions on it is told that all are equal."""


@rule(MISSING)
def missing_captions(scan: Scan) -> Iterator[Finding]:
    alike: dict[tuple[bool, str, str, bool], list[FolderContent]] = {}
    for found in scan.folders:
        subset = found.subset
        if not subset.is_reg:
            kind = subset.allow_missing_captions, subset.caption_extension, subset.metadata_file
            alike.setdefault((*kind, bool(subset.caption_fields)), []).append(found)
    for (allowed, extension, metadata, of_fields), folders in alike.items():
        missing = [path for found in folders for path in found.uncaptioned]
        total = sum(len(found.pictures) for found in folders)
        have = "has" if len(missing) == 1 else "have"
        what = f"{len(missing)} of {count(total, 'picture')} {have} no caption"
        there = total - len(missing)
        endings = "" if metadata or of_fields else advice_on_endings(missing, extension, there)
        if missing and allowed:
            used = dict.fromkeys(f'"{f.subset.class_tokens}"' for f in folders if f.uncaptioned)
            what += f", and {and_more(used)} is trained instead"
            yield MISSING.finding(missing, what, endings, "warning")
        elif missing and metadata:
            what += f" (neither caption nor tags in {metadata})"
            yield MISSING.finding(missing, what, f"write them there, or {ALLOW_MISSING}")
        elif missing and of_fields:
            example = field_file(missing[0]).name
            what += f" (no file such as {example}, or none of caption_fields in it)"
            yield MISSING.finding(
                missing,
                what,
                "run the captioning stage of anime_screenshot_pipeline on them, remove "
                f"caption_fields, or {ALLOW_MISSING}",
            )
        elif missing:
            what += f" (no {extension} file, or an empty one)"
            anyhow = f"write the captions, correct caption_extension, or {ALLOW_MISSING}"
            yield MISSING.finding(missing, what, f"{endings}; or {anyhow}" if endings else anyhow)


@rule(UNREADABLE)
def unreadable_captions(scan: Scan) -> Iterator[Finding]:
    closed = [location for found in scan.folders for location in found.unreadable]
    if closed:
        yield UNREADABLE.finding(
            closed,
            f"{count(len(closed), 'caption file')} cannot be read",
            "correct these files, or their permissions",
        )
    foreign = [file for found in scan.folders for file in found.foreign]
    for known in (True, False):
        alike = [file for file in foreign if bool(file.guess.encoding) is known]
        if alike:
            number = count(len(alike), "caption file is", "caption files are")
            says = and_more(dict.fromkeys(file.guess.says for file in alike))
            yield UNREADABLE.finding(
                [Location(file.path, file.guess.says) for file in alike],
                f"{number} not UTF-8 ({says})",
                _FIX_FOREIGN if known else _FIX_UNKNOWN,
            )


_FIX_FOREIGN = (
    "run `lycoris-ext doctor CONFIG --fix`, with your config or the folder of pictures, which "
    "rewrites these files as UTF-8 and keeps each original beside them"
)
_FIX_UNKNOWN = (
    "save these files as UTF-8; if you know their encoding, `lycoris-ext doctor CONFIG --fix "
    "--encoding cp932`, with your config and that encoding, does it and keeps the originals"
)


@rule(SEVERAL_LINES)
def captions_of_several_lines(scan: Scan) -> Iterator[Finding]:
    paths = [path for found in scan.folders for path in found.several_lines]
    if paths:
        yield SEVERAL_LINES.finding(
            paths,
            f"{count(len(paths), 'caption has', 'captions have')} several lines, and only the "
            "first is used",
        )


@rule(CUT)
def captions_that_are_cut(scan: Scan) -> Iterator[Finding]:
    limit = scan.token_limit
    if limit is None:
        return
    counted = [(limit.count_longest(one.caption, one.subset), one) for one in scan.pictures]
    long = sorted((pair for pair in counted if pair[0] > limit.tokens), key=lambda pair: -pair[0])
    if long:
        number = f"{len(long)} of {count(len(counted), 'caption')}"
        yield CUT.finding(
            [Location(_source(picture), count(tokens, "token")) for tokens, picture in long],
            f"{number} {'is' if len(long) == 1 else 'are'} longer than "
            f"{count(limit.tokens, 'token')}, and the rest is not read",
            _fix_for_cut(limit, long[0][0]),
        )


def _source(picture: Picture) -> Path:
    """Return the caption file of a picture, or the picture itself if it has none."""
    return (picture.caption_file if picture.has_caption_file else None) or picture.path


def _fix_for_cut(limit: TokenLimit, longest: int) -> str:
    enough = limit.enough_for(longest)
    if enough <= LONGEST_TEXT:
        return f"set max_token_length = {enough}, or shorten these captions"
    if limit.max_token_length < LONGEST_TEXT:
        return f"set max_token_length = {LONGEST_TEXT}, and shorten the longest captions"
    return "shorten these captions, or put what matters first"


@rule(ORPHAN)
def captions_without_pictures(scan: Scan) -> Iterator[Finding]:
    # Subsets may share a folder.
    if paths := list(dict.fromkeys(path for found in scan.folders for path in found.orphans)):
        number = count(len(paths), "caption file has", "caption files have")
        yield ORPHAN.finding(
            paths,
            f"{number} no picture of that name",
            "correct the name, or delete them if the picture was deleted",
        )


@rule(EQUAL)
def equal_captions(scan: Scan) -> Iterator[Finding]:
    equal = {}
    for found in scan.folders:
        captions = [one.caption for one in found.pictures if one.has_caption_file]
        if len(captions) >= _MANY and len(set(captions)) == 1 and not found.subset.is_reg:
            equal[found.subset.place] = f'"{short(captions[0], 60)}"'
    if equal:
        yield EQUAL.finding(
            [Location(path, text) for path, text in equal.items()],
            f"in {count(len(equal), 'folder')} all captions are the same text",
            "leave it so if the model is to learn that text alone; else describe each picture",
        )
