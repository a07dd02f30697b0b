"""Rules about pictures that are in a data set twice."""

from __future__ import annotations

from collections.abc import Iterator

from lycoris_ext.data.findings import Code, Finding, Location
from lycoris_ext.data.near_copies import near_copies
from lycoris_ext.data.rules.registry import rule
from lycoris_ext.data.scan import Scan
from lycoris_ext.words import and_more, count

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
        pairs = and_more(f"{path.name} = {other.name}" for path, other in copies.items())
        yield COPY.finding(
            [Location(path, f"the same as {other}") for path, other in copies.items()],
            f"{count(len(copies), 'picture is a copy', 'pictures are copies')} of another one and "
            f"{'counts' if len(copies) == 1 else 'count'} as often again ({pairs})",
            "delete the copies, or leave them if that is meant",
        )


@rule(NEAR)
def near_copies_of_pictures(scan: Scan) -> Iterator[Finding]:
    files = {one.file.digest: one for one in reversed(scan.checked) if one.file.measures}
    seen = [one for one in reversed(files.values()) if one.file.measures]
    found = near_copies([one.file.measures for one in seen if one.file.measures])
    if found:
        paths = [one.picture.path for one in seen]
        pairs = and_more(f"{paths[at].name} = {paths[other].name}" for at, other in found.items())
        yield NEAR.finding(
            [Location(paths[at], f"looks like {paths[other]}") for at, other in found.items()],
            f"{count(len(found), 'picture looks', 'pictures look')} nearly the same as another one "
            f"({pairs})",
            "leave one of each out if they are one picture that was saved twice",
        )
