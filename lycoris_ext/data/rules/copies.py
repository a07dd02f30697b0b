"""A rule about pictures that are in a data set twice."""

from __future__ import annotations

from collections.abc import Iterator

from lycoris_ext.data.findings import Code, Finding, Location
from lycoris_ext.data.rules.registry import rule
from lycoris_ext.data.scan import Scan
from lycoris_ext.words import and_more, count

COPY = Code("LX019", "warning", "A picture file is byte for byte the same as another one.")


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
