"""Losses are read from an event log whatever stands in it, and can be drawn."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lycoris_ext.errors import DataError
from lycoris_ext.plots.curve import loss_curve
from lycoris_ext.runs.losses import read_losses

ODD = st.none() | st.booleans() | st.text(max_size=3) | st.integers() | st.floats() | st.just([])
EVENTS = st.fixed_dictionaries(
    {"event": st.just("step")},
    optional={"step": ODD | st.integers(1, 9), "loss": ODD, "learning_rates": ODD},
)


def written(folder: Path, *lines: str) -> Path:
    path = folder / "x.events.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENTS, max_size=6))
def test_any_events_are_drawn_or_refused_in_words(events: list[dict[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), *map(json.dumps, events))
        try:
            points = read_losses(path)
        except DataError:
            return
        assert loss_curve(points, size=(320, 240)).size == (320, 240)


def test_steps_without_a_finite_loss_or_with_an_odd_number_are_left_out(tmp_path: Path) -> None:
    good = '{"event": "step", "step": 2, "loss": 0.5, "learning_rates": {"unet": 1}}'
    odd = ['"<b>"', "null", "true", "[]", "NaN", "1e999", "9" * 400]
    losses = [f'{{"event": "step", "step": 1, "loss": {value}}}' for value in odd]
    steps = [f'{{"event": "step", "step": {value}, "loss": 1}}' for value in (*odd, "-1", "1.5")]
    (point,) = read_losses(written(tmp_path, *losses, good, *steps, "[" * 100_000, '{"event": '))
    assert (point.step, point.loss, point.learning_rate) == (2, 0.5, 1.0)
    with pytest.raises(DataError, match="no step of training is recorded"):
        read_losses(written(tmp_path, *losses))
