"""The event file: every step once, whatever was killed when."""

from __future__ import annotations

import pytest

from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.training.events import EventLog, loss_curve, read_events
from lycoris_ext.training.sample_config import SampleConfig, parse_prompt, prompt_lines


def test_steps_make_a_curve(tmp_path):
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


def test_prompt_options_of_sd_scripts():
    line = "a cat, by night --n blurry, bad --w 512 --h 768 --d 3 --s 28 --l 7.5"
    assert parse_prompt(line, seed=1, sampler="DDIM") == {
        "prompt": "a cat, by night",
        "negative_prompt": "blurry, bad",
        "width": 512,
        "height": 768,
        "seed": 3,
        "steps": 28,
        "cfg_scale": 7.5,
        "sampler": "DDIM",
    }
    assert parse_prompt("a--b", seed=1, sampler="Euler")["prompt"] == "a--b"


def test_prompt_mistakes():
    with pytest.raises(ConfigError, match="option --q is not supported"):
        parse_prompt("a --q 1", seed=0, sampler="Euler")
    with pytest.raises(ConfigError, match="--w 'wide' is no int"):
        parse_prompt("a --w wide", seed=0, sampler="Euler")
    with pytest.raises(ConfigError, match="sample_every_n_steps is 0"):
        SampleConfig(sample_every_n_steps=0)


def test_prompts_from_a_file(tmp_path):
    path = tmp_path / "p.txt"
    path.write_text("\ufeff# mine\n\na cat\na dog --d 1\n", encoding="utf-8")
    assert prompt_lines([str(path)]) == ["a cat", "a dog --d 1"]
    assert prompt_lines(["a", "b"]) == ["a", "b"]
    with pytest.raises(DataError, match="cannot be read"):
        prompt_lines([str(tmp_path / "none.txt")])
