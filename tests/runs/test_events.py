"""The file of events holds every step once, whenever the run was killed."""

from __future__ import annotations

import pytest

from lycoris_ext.errors import ConfigError, DataError, EnvironmentFault
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


def test_a_line_that_failed_is_written_with_the_next_one(tmp_path):
    log = EventLog(tmp_path / "e.jsonl")
    log.write("step", 1, loss=0.5)
    content = log.path.read_bytes()
    log.path.unlink()
    log.path.mkdir()
    for step in (2, 3):
        with pytest.raises(EnvironmentFault, match="cannot be written"):
            log.write("step", step, loss=0.25)
    log.path.rmdir()
    log.path.write_bytes(content + b'{"event": "step", "st')  # as a disk that gets full leaves it
    log.write("stopped", 3)
    assert [event["step"] for event in read_events(log.path)] == [1, 2, 3, 3]
    assert log.unwritten == ""


def test_lines_that_a_state_keeps_are_in_the_log_once(tmp_path):
    log = EventLog(tmp_path / "e.jsonl")
    log.write("step", 1, loss=0.5)
    late = '{"event": "step", "step": 2, "loss": 0.25}\n'
    for written in ("", late[:20], late[:-1], late):
        log.continue_after(1)
        with log.path.open("a", encoding="utf-8") as file:
            file.write(written)
        log.continue_after(2, "\n" + late)
        assert [event["step"] for event in read_events(log.path)] == [1, 2]


def test_a_log_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    path = tmp_path / "e.jsonl"
    path.touch()
    monkeypatch.setattr("lycoris_ext.runs.events.read_bytes", _refuse)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\)"):
        list(read_events(path))


def _refuse(path):
    raise PermissionError(13, "Permission denied", str(path))


@pytest.mark.parametrize("name", ["sample_every_n_steps", "sample_every_n_epochs"])
def test_drawing_pictures_every_0_steps_is_refused(name):
    with pytest.raises(ConfigError, match=f"{name} is 0"):
        SampleConfig(**{name: 0})
