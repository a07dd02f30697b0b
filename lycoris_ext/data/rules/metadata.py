"""Rules about metadata JSONs: unreadable, or not naming the pictures that are there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lycoris_ext.data.findings import Code, Finding, Location
from lycoris_ext.data.rules.registry import rule
from lycoris_ext.data.scan import Scan
from lycoris_ext.words import count

UNREADABLE = Code(
    "LX020", "error", "A metadata JSON (metadata_file, in_json) is missing, or not of that kind."
)
ABSENT = Code(
    "LX021", "error", "A metadata JSON names a picture that is not there, or one of them twice."
)
UNNAMED = Code(
    "LX022", "warning", "Pictures are left out because the metadata JSON does not name them."
)


@rule(UNREADABLE)
def unreadable_metadata(scan: Scan) -> Iterator[Finding]:
    faults = [
        Location(Path(found.subset.metadata_file), found.metadata_fault)
        for found in scan.folders
        if found.metadata_fault
    ]
    if faults:
        yield UNREADABLE.finding(
            faults,
            f"{count(len(faults), 'metadata file')} cannot be used",
            'give the JSON of sd-scripts\' tools: {"picture": {"caption": "...", "tags": "..."}}',
        )


@rule(ABSENT)
def pictures_that_are_only_named(scan: Scan) -> Iterator[Finding]:
    for found in scan.folders:
        if found.absent:
            yield ABSENT.finding(
                found.absent,
                f"{count(len(found.absent), 'picture')} that {found.subset.metadata_file} names "
                "cannot be used",
                "correct image_dir, put the pictures there, or remove them from the JSON",
            )


@rule(UNNAMED)
def pictures_that_are_not_named(scan: Scan) -> Iterator[Finding]:
    for found in scan.folders:
        if found.unnamed:
            number = count(len(found.unnamed), "picture is", "pictures are")
            yield UNNAMED.finding(
                found.unnamed,
                f"{number} left out, because {found.subset.metadata_file} does not name "
                + ("it" if len(found.unnamed) == 1 else "them"),
                "run the tool that wrote the JSON again",
            )
