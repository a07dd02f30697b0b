"""Rules about regularisation pictures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from lycoris_ext.data.buckets import Resolution
from lycoris_ext.data.findings import Code, Finding
from lycoris_ext.data.rules.registry import rule
from lycoris_ext.data.scan import Scan
from lycoris_ext.words import count

UNUSED = Code(
    "LX017",
    "note",
    "Regularisation pictures are not used, because the first ones already match the number of "
    "training pictures of their resolution.",
)


@rule(UNUSED)
def unused_regularisation(scan: Scan) -> Iterator[Finding]:
    if not any(picture.is_training for picture in scan.pictures):
        return  # a data set without training pictures is an error, which another rule reports
    used = Counter(picture.subset.size for picture in scan.pictures if picture.is_reg)
    wanted: dict[Resolution, float] = defaultdict(float)
    for picture in scan.pictures:
        if picture.is_training:
            wanted[picture.subset.size] += picture.repeats
    there: dict[Resolution, list[Path]] = {}
    for found in scan.folders:
        if found.subset.is_reg:
            there.setdefault(found.subset.size, []).extend(p.path for p in found.pictures)
    for size, paths in there.items():
        if unused := paths[used[size] :]:
            yield UNUSED.finding(
                unused,
                f"{len(unused)} of {count(len(paths), 'regularisation picture')} "
                f"{'is' if len(unused) == 1 else 'are'} not used, because those before match the "
                f"{count(round(wanted[size]), 'training picture')} of an epoch at "
                f"{size[0]}x{size[1]} pixels",
            )
