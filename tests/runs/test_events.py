"""The file of events holds every step once, whenever the run was killed."""

from __future__ import annotations

import pytest

from lycoris_ext.errors import ConfigError
from lycoris_ext.runs.events import EventLog, read_events
from lycoris_ext.training.sample_config import SampleConfig
from tests.recorded import loss_curve


def test_the_logged_steps_give_the_curve_of_losses(tmp_path):
    log = EventLog(tmp_path / "e.jsonl")
    log.write("step", 1, loss=0.5)
    log.write("checkpoint", 1, file="a")
    log.write("step", 2, loss=0.25)
    assert loss_curve(log.path) == [(1, 0.5), (2, 0.25)]


def test_a_missing_file_has_no_events(tmp_path):
    assert list(read_events(tmp_path / "nothing")) == []


def test_continuing_drops_later_steps_and_half_lines(tmp_path):
    log = EventLog(tmp_path / "e.jsonl")
    for step in range(1, 8):
        log.write("step", step, loss=1.0 / step, note="ü")
    with open(log.path, "ab") as file:
        file.write(b'{"event": "step", "step": 8, "lo')
    log.continue_after(5)
    log.write("step", 6, loss=9.0)
    assert [event["step"] for event in read_events(log.path)] == [1, 2, 3, 4, 5, 6]
    assert log.path.read_bytes().endswith(b"\n")
    assert len(log.path.read_text("utf-8").splitlines()) == 6


@pytest.mark.parametrize("name", ["sample_every_n_steps", "sample_every_n_epochs"])
def test_drawing_pictures_every_0_steps_is_refused(name):
    with pytest.raises(ConfigError, match=f"{name} is 0"):
        SampleConfig(**{name: 0})
