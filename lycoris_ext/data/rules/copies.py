"""Rules about pictures that are in a data set twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from lycoris_ext.data.findings import Code, Finding, Location
from lycoris_ext.data.near_copies import near_copies
from lycoris_ext.data.rules.registry import rule
from lycoris_ext.data.scan import Scan
from lycoris_ext.words import count

COPY = Code("LX019", "warning", "A picture file is byte for byte the same as another one.")
NEAR = Code(
    "LX037",
    "note",
    "A picture looks nearly the same as another one, whose file is a different one.",
)


@rule(COPY)
def copies_of_pictures(scan: Scan) -> Iterator[Finding]:
    files = {checked.picture.path: checked.file.digest for checked in scan.checked}
    first = {digest: path for path, digest in reversed(files.items())}
    copies = {path: first[digest] for path, digest in files.items() if first[digest] != path}
    if copies:
        yield COPY.finding(
            _beside_each_other(copies, "the same as"),
            f"{count(len(copies), 'picture is a copy', 'pictures are copies')} of another one and "
            f"{'counts' if len(copies) == 1 else 'count'} as often again",
            "delete the copies, or leave them if that is meant",
        )


@rule(NEAR)
def near_copies_of_pictures(scan: Scan) -> Iterator[Finding]:
    files = {one.file.digest: one for one in reversed(scan.checked) if one.file.measures}
    seen = [one for one in reversed(files.values()) if one.file.measures]
    found = near_copies([one.file.measures for one in seen if one.file.measures])
    if found:
        paths = [one.picture.path for one in seen]
        yield NEAR.finding(
            _beside_each_other({paths[at]: paths[other] for at, other in found.items()}, "like"),
            f"{count(len(found), 'picture looks', 'pictures look')} nearly the same as another one",
            "leave one of each out if they are one picture that was saved twice",
        )


def _beside_each_other(first: Mapping[Path, Path], how: str) -> list[Location]:
    """Return each picture followed by its copies, so that a page shows them side by side.

    Args:
        first: copy -> the picture of which it is one.
        how: what a copy is to it, such as "the same as".
    """
    copies: dict[Path, list[Path]] = {}
    for copy, path in first.items():
        copies.setdefault(path, []).append(copy)
    found = []
    for path, others in copies.items():
        found.append(Location(path, f"has {count(len(others), 'copy', 'copies')} here"))
        for copy in others:
            near = path.name if copy.parent == path.parent else f"{path.parent.name}/{path.name}"
            found.append(Location(copy, f"{how} {near}"))
    return found
