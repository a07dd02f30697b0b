"""A rule about what the VAE makes of pictures; `train` asks it when all pictures are encoded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

from lycoris_ext.data.findings import Code, Finding, Location
from lycoris_ext.data.rules.registry import rule
from lycoris_ext.data.scan import Scan
from lycoris_ext.words import count

ODD = Code(
    "LX060",
    "warning",
    "The mean or spread of a picture's latents is far from that of the others; told by train.",
)

_COMPARED = 10
"""With fewer pictures there is nothing usual."""
_FAR = 3.0
"""How many usual spreads the mean is off, or how many times the spread is wider or narrower."""


@rule(ODD)
def not_before_training(scan: Scan) -> Iterator[Finding]:
    """Find nothing: there are no latents before a run encodes the pictures."""
    yield from ()


def odd_latents(levels: Mapping[Path, tuple[float, float]]) -> Iterator[Finding]:
    """Find pictures whose latents are far from those of the others.

    Args:
        levels: picture file -> mean and standard deviation of its latents.
    """
    if len(levels) < _COMPARED:
        return
    middle = median(mean for mean, _ in levels.values())
    usual = median(spread for _, spread in levels.values())
    found = [
        Location(path, f"mean {mean:.2f}, spread {spread:.2f}")
        for path, (mean, spread) in levels.items()
        if abs(mean - middle) > _FAR * usual or not usual / _FAR <= spread <= usual * _FAR
    ]
    if found:
        yield ODD.finding(
            found,
            f"the latents of {count(len(found), 'picture')} are far from those of the others "
            f"(usually mean {middle:.2f}, spread {usual:.2f})",
            "look at these pictures: they may be empty, or of another kind",
        )
