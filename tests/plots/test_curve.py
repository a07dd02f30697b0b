"""The loss curve of a run, read from its events."""

from __future__ import annotations

import json

import pytest

from lycoris_ext.errors import DataError
from lycoris_ext.plots.curve import _tick, loss_curve, smoothed
from lycoris_ext.runs.losses import LossPoint, read_losses


def write(path, *events):
    path.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    return path


def test_losses_are_read_in_order_and_once(tmp_path):
    path = write(
        tmp_path / "events.jsonl",
        {"event": "start", "step": 0},
        {"event": "step", "step": 1, "loss": 0.5, "learning_rates": {"unet": 0.1}},
        {"event": "step", "step": 2, "loss": 9.0},
        {
            "event": "step",
            "step": 2,
            "loss": 0.4,
            "learning_rates": {"unet": 0.2, "text_encoder": 0.1},
        },
    )
    with open(path, "a", encoding="utf-8") as file:
        file.write('{"event": "step", "step": 3, "lo')
    assert read_losses(path) == [LossPoint(1, 0.5, 0.1), LossPoint(2, 0.4, 0.2)]


def test_a_run_without_losses_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_losses(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="no step of training"):
        read_losses(write(tmp_path / "events.jsonl", {"event": "start"}))
    with pytest.raises(DataError, match="no losses"):
        loss_curve([])


def test_smoothing_starts_unbiased_and_follows():
    assert smoothed([2.0, 2.0, 2.0]) == pytest.approx([2.0, 2.0, 2.0])
    assert smoothed([1.0] + [0.0] * 200)[-1] < 1e-4


def test_ticks_are_round():
    assert [_tick(span, 8) for span in (8, 9, 0.17, 1234)] == [1, 2, 0.05, 200]


def colours(picture):
    return {colour for _, colour in picture.getcolors(1 << 20)}


def test_the_learning_rate_is_drawn_only_where_it_changes():
    falling = [LossPoint(step, 1 / step, 0.1) for step in range(1, 50)]
    plain = loss_curve(falling, "a title", size=(480, 270))
    assert plain.size == (480, 270)
    warm_up = [LossPoint(p.step, p.loss, min(1.0, p.step / 9)) for p in falling]
    orange = (208, 110, 40)
    assert orange in colours(loss_curve(warm_up)) - colours(loss_curve(falling))


@pytest.mark.parametrize("losses", [[0.3], [0.0, 0.0], [1e-9, 1e9], [0.1] * 3])
def test_curves_of_one_loss_of_equal_losses_and_of_extremes_are_drawn(losses):
    points = [LossPoint(step + 7, loss) for step, loss in enumerate(losses)]
    assert (33, 92, 183) in colours(loss_curve(points))
