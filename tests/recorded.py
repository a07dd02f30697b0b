"""What a run wrote down, as tests compare it."""

from __future__ import annotations

from pathlib import Path

from lycoris_ext.runs.events import read_events


def loss_curve(path: Path) -> list[tuple[int, float]]:
    """(step, loss) of every line about a step in an event file, in the file's order."""
    return [
        (int(event["step"]), float(event["loss"]))
        for event in read_events(path)
        if event.get("event") == "step"
    ]
