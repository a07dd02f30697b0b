"""Pictures whose latents are far from the others' are told by name."""

from __future__ import annotations

from pathlib import Path

from lycoris_ext.data.rules.latents import odd_latents

USUAL = {Path(f"{n}.png"): (0.1 * (n % 5) - 0.3, 0.7 + 0.05 * (n % 7)) for n in range(20)}


def told(levels):
    return [path.name for one in odd_latents(levels) for path, _ in one.where]


def test_usual_latents_are_not_told():
    assert told(USUAL) == []


def test_latents_of_another_mean_or_spread_are_told():
    odd = {Path("white.png"): (2.9, 0.8), Path("flat.png"): (0.0, 0.1), Path("wild.png"): (0, 4.0)}
    assert told(USUAL | odd) == ["white.png", "flat.png", "wild.png"]
    (finding,) = odd_latents(USUAL | odd)
    assert (finding.code, finding.severity) == ("LX060", "warning")


def test_a_few_pictures_are_not_compared():
    assert told(dict(list(USUAL.items())[:5]) | {Path("x.png"): (9.0, 9.0)}) == []
