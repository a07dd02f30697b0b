"""Reads what a run has recorded, in a form that tests can compare."""

from __future__ import annotations

from pathlib import Path

from lycoris_ext.runs.events import read_events


def loss_curve(path: Path) -> list[tuple[int, float]]:
    """Return (step, loss) of every line about a step in an event file, in the order of the file."""
    return [
        (int(event["step"]), float(event["loss"]))
        for event in read_events(path)
        if event.get("event") == "step"
    ]
