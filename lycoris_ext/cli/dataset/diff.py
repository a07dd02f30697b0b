"""`lycoris-ext dataset diff RUN [DIR|CONFIG]`: what changed in a data set since a run."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from lycoris_ext.cli.dataset.reading import data_config
from lycoris_ext.cli.dataset.recorded import Recorded, recorded
from lycoris_ext.cli.exit_codes import DONE
from lycoris_ext.data import DataConfig, Picture
from lycoris_ext.data.differences import Differences, differences
from lycoris_ext.data.findings import raise_if_errors
from lycoris_ext.data.fingerprint import Manifest, joint_digest, manifest_of
from lycoris_ext.data.moved import moved
from lycoris_ext.data.pictures import digest_of
from lycoris_ext.data.rules import captions as rules_of_captions
from lycoris_ext.data.rules import folders as rules_of_folders
from lycoris_ext.data.rules import metadata as rules_of_metadata
from lycoris_ext.data.scan import read_folders
from lycoris_ext.errors import DataError, Faults
from lycoris_ext.printable import printable
from lycoris_ext.sampling.progress import counting_pictures

DIFFERENT = 1
"""Exit code where something changed, as that of diff and cmp."""
SHOWN = 40
"""Number of pictures that are named; --json has them all."""


def main(options: argparse.Namespace) -> int:
    """Print what changed; return the exit code."""
    run = recorded(options.run)
    config = _config(run, options.place)
    now = _manifest(config, run.seed)
    found = None if run.manifest is None else differences(run.manifest, now)
    same = run.fingerprint == now.fingerprint if found is None else not found
    if options.json:
        print(json.dumps(_as_json(run, now, found, same=same), ensure_ascii=False))
    else:
        for line in _as_text(run, found, same=same):
            print(printable(line))
    return DONE if same else DIFFERENT


def _config(run: Recorded, place: Path | None) -> DataConfig:
    """Return the config that reads the data set as it is now."""
    then = run.config
    if place is None:
        return then
    if place.is_dir():
        return moved(then, place)
    now = data_config(place).data
    # Unset, it is the base model's picture size.
    return now if now.resolution is not None else replace(now, resolution=then.resolution)


def _manifest(config: DataConfig, seed: int) -> Manifest:
    """List the data set as it is now; no picture is decoded."""
    scan = read_folders(config, seed)
    raise_if_errors(
        (
            *rules_of_folders.unreadable_folders(scan),
            *rules_of_captions.unreadable_captions(scan),
            *rules_of_metadata.unreadable_metadata(scan),
        )
    )
    if not scan.pictures:
        raise DataError(
            "there are no pictures, read as the run read them",
            where=", ".join(str(root.path) for root in scan.roots),
            fix="name the folder that holds what the run's folder held, or a config",
        )
    return manifest_of(config, scan.pictures, _digests(scan.pictures), seed)


def _digests(pictures: Sequence[Picture]) -> list[str]:
    faults, found = Faults(), []

    def digest(picture: Picture) -> str:
        with faults:
            mask = digest_of(picture.mask) if picture.mask else None
            return joint_digest(digest_of(picture.path), mask)
        return ""

    with (
        counting_pictures("comparing", len(pictures)) as progress,
        ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool,
    ):
        for each in pool.map(digest, pictures):
            found.append(each)
            progress(1)
    faults.raise_all()
    return found


def _as_json(
    run: Recorded, now: Manifest, found: Differences | None, *, same: bool
) -> dict[str, Any]:
    return {
        "run": run.name,
        "same": same,
        "fingerprint": {"before": run.fingerprint, "after": now.fingerprint},
        "differences": None if found is None else found.as_json(),
    }


def _as_text(run: Recorded, found: Differences | None, *, same: bool) -> list[str]:
    if found is not None:
        number = len(run.manifest.entries) if run.manifest else 0
        last = f"same: all {number:,} pictures" if same else f"different: {found.summary}"
        return [*found.lines(SHOWN), last]
    if same:
        return ["same: pictures, captions and repeats have the fingerprint of the run"]
    what = "pictures, captions or repeats are not those of the run"
    return [f"different: {what}; {run.note}, so that it is not known which"]
