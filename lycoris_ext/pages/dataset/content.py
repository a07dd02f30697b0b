"""What the page of a data set holds, as lists and dictionaries for its script.

Everything that grows with the data set has a limit here, so that the page of 100,000 pictures opens
as that of 100 does. What is left out is counted, and the page says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lycoris_ext.data.balance import balance
from lycoris_ext.data.decode import REPLACE
from lycoris_ext.data.findings import Finding, Location
from lycoris_ext.data.folder_tree import FolderTree, Leaf
from lycoris_ext.data.report import Amount, PictureFacts, Report
from lycoris_ext.data.rules.pictures import DAMAGED
from lycoris_ext.data.scan import Picture
from lycoris_ext.data.token_limit import TokenLimit
from lycoris_ext.pages.dataset.charts import by_letters, lost, sizes, together, tokens
from lycoris_ext.pages.dataset.choice import TAGS, Places, worst_crops
from lycoris_ext.words import count

LISTED = 200
"""Files of one finding."""
ROWS = 2_000
"""Levels, concepts, buckets and folders."""
CAPTION = 2_000
"""Letters of a caption."""
_SEVERITIES = ("error", "warning", "note")


class Folders:
    """The folders of pictures; those with the same repeats are one entry each.

    Attributes:
        rows: what the page holds of each.
    """

    def __init__(self, report: Report) -> None:
        self.rows: list[dict[str, Any]] = []
        self.paths: list[Path] = []
        self._numbers: dict[tuple[Path, float, bool, bool], int] = {}
        for one in report.pictures:
            picture = one.picture
            key = self._key(picture)
            if key not in self._numbers:
                self._numbers[key] = len(self.rows)
                self.paths.append(picture.path.parent)
                self.rows.append(
                    {
                        "levels": list(one.levels),
                        "concepts": list(one.concepts),
                        "reg": picture.is_reg,
                        "held": picture.is_held_out,
                        "repeats": picture.repeats,
                        "pictures": 0,
                    }
                )
            self.rows[self._numbers[key]]["pictures"] += 1

    def number(self, one: PictureFacts) -> int:
        """Return the number of a picture's folder."""
        return self._numbers[self._key(one.picture)]

    @staticmethod
    def _key(picture: Picture) -> tuple[Path, float, bool, bool]:
        return (picture.path.parent, picture.repeats, picture.is_reg, picture.is_held_out)


def page_content(
    report: Report,
    chosen: Sequence[int],
    thumbnails: Mapping[Path, str],
    faults: Mapping[Path, str],
    address: Callable[[Path], str],
    limit: TokenLimit | None = None,
) -> dict[str, Any]:
    """Return everything that the page shows.

    Args:
        report: what the data set holds.
        chosen: numbers of the pictures that are shown.
        thumbnails: picture -> address of its small copy.
        faults: picture -> why it has none.
        address: returns the address of a picture itself.
        limit: how many tokens of a caption are read; None for CLIP's usual number.
    """
    folders = Folders(report)
    tags = {tag: number for number, tag in enumerate(list(report.tags)[:TAGS])}
    shown = {number: place for place, number in enumerate(chosen)}
    base = Path(report.folder) if Path(report.folder).is_dir() else None
    return {
        "folder": report.folder,
        "whole": asdict(report.whole),
        "regularisation": asdict(report.regularisation),
        "held_out": asdict(report.held_out),
        "uncaptioned": report.uncaptioned,
        "folders": folders.rows,
        **_levels(report),
        "concepts": _concepts(report),
        "together": together(report),
        "sizes": sizes(report.sizes),
        "buckets": [
            [*size, amount.pictures, amount.samples]
            for size, amount in list(report.buckets.items())[:ROWS]
        ],
        "lost": lost(report.pictures),
        "worst": [shown[number] for number in worst_crops(report) if number in shown],
        "tags": _tags(report, tags, folders),
        "all_tags": len(report.tags),
        "tokens": tokens(report.pictures, limit),
        "findings": _findings(report, faults, shown, folders),
        "pictures": [
            {
                "file": _name(report.pictures[number].picture.path, base),
                "thumb": thumbnails.get(report.pictures[number].picture.path, ""),
                "src": address(report.pictures[number].picture.path),
                "fault": faults.get(report.pictures[number].picture.path, ""),
                "folder": folders.number(report.pictures[number]),
                **_facts(report.pictures[number], tags),
            }
            for number in chosen
        ],
        "all_pictures": len(report.pictures),
    }


def _concepts(report: Report) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            **asdict(report.concepts[name]),
            "domains": [[d, a.pictures, a.samples] for d, a in report.domains[name].items()],
        }
        for name in sorted(report.concepts, key=by_letters)[:ROWS]
    ]


def _name(path: Path, base: Path | None) -> str:
    return str(path.relative_to(base)) if base and path.is_relative_to(base) else str(path)


def _facts(one: PictureFacts, tags: Mapping[str, int]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "caption": one.picture.caption[:CAPTION],
        "written": one.picture.has_caption_file,
        "tokens": one.tokens,
        "tags": [tags[tag] for tag in one.tags if tag in tags] if one.picture.is_training else [],
    }
    if one.crop is not None:
        width, height = one.crop.resized
        left, top, right, bottom = one.crop.crop_box
        box = (left / width, top / height, right / width, bottom / height)
        facts |= {
            "size": list(one.crop.original),
            "bucket": list(one.crop.bucket),
            "lost": round(one.lost, 4),
            "box": [round(side, 4) for side in box],
        }
    return facts


def _levels(report: Report) -> dict[str, Any]:
    """Return the tree of levels with their shares of an epoch, now and after a balance."""
    after: dict[tuple[str, ...], Amount] = {}
    leaves: dict[Path, list[PictureFacts]] = {}
    for one in report.pictures:
        if one.picture.is_training:
            leaves.setdefault(one.picture.path.parent, []).append(one)
    found = tuple(
        Leaf(
            folder,
            some[0].levels,
            sum(one.picture.repeats for one in some) / len(some),
            tuple(one.picture.path.name for one in some),
        )
        for folder, some in leaves.items()
    )
    shares = balance(FolderTree(Path(report.folder), False, found)) if found else ()
    for share in shares:
        for depth in range(len(share.leaf.levels) + 1):
            amount = after.setdefault(share.leaf.levels[:depth], Amount())
            amount.samples += share.weighted
    repeats = {share.leaf.levels: (share.leaf.repeats, share.repeats) for share in shares}
    return {
        "levels": [
            {
                "levels": list(levels),
                **asdict(amount),
                "after": after[levels].samples if levels in after else 0,
                "repeats": repeats.get(levels),
            }
            for levels, amount in list(report.levels.items())[:ROWS]
        ],
        "after": sum(share.weighted for share in shares),
    }


def _tags(report: Report, tags: Mapping[str, int], folders: Folders) -> list[dict[str, Any]]:
    """Return the most frequent tags, each with the number of its captions in every folder."""
    inside: list[Counter[int]] = [Counter() for _ in tags]
    for one in report.pictures:
        if one.picture.is_training:
            folder = folders.number(one)
            for tag in one.tags:
                if tag in tags:
                    inside[tags[tag]][folder] += 1
    return [
        {
            "name": tag,
            **asdict(report.tags[tag]),
            "in": [part for pair in inside[number].most_common(ROWS) for part in pair],
        }
        for tag, number in tags.items()
    ]


def _findings(
    report: Report, faults: Mapping[Path, str], shown: Mapping[int, int], folders: Folders
) -> list[dict[str, Any]]:
    places = Places(report, shown)
    numbers: dict[Path, list[int]] = {}
    for number, path in enumerate(folders.paths):
        numbers.setdefault(path, []).append(number)
    base = Path(report.folder)

    def row(finding: Finding) -> dict[str, Any]:
        where = []
        for path, detail in finding.where[:LISTED]:
            number = places.find(path)
            one: dict[str, Any] = {"path": _name(path, base), "detail": detail}
            if number is not None:
                one["picture"] = shown[number]
            elif path in numbers:
                one["folders"] = numbers[path]
            where.append(one)
        return {
            "code": finding.code,
            "severity": finding.severity,
            "what": finding.what,
            "fix": finding.fix,
            "all": len(finding.where),
            "where": where,
        }

    found = list(report.findings)
    known = {place.path for one in found if one.code == DAMAGED.name for place in one.where}
    damaged = [Location(path, fault) for path, fault in faults.items() if path not in known]
    if damaged:  # the report itself reads only headers
        told = count(len(damaged), "picture of this page", "pictures of this page")
        found.append(DAMAGED.finding(damaged, f"{told} cannot be read", REPLACE))
    ordered = sorted(found, key=lambda one: _SEVERITIES.index(one.severity))
    return [row(finding) for finding in ordered]
