"""A training ends by its user, its end or a fault of its own; a log that is lost ends none."""

from __future__ import annotations

import errno
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from lycoris_ext.errors import DivergedError, EnvironmentFault, RunInterrupted
from lycoris_ext.runs.events import EventLog, read_events
from lycoris_ext.training import train as recipe
from lycoris_ext.training.run import Run
from tests.test_streams import ERRORS, Failing


@pytest.mark.parametrize("works", [0, 1, 3, 10])
def test_a_lost_log_changes_nothing_in_the_adapter(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: int
) -> None:
    whole = run(output_dir=str(tmp_path / "whole"))
    log = Failing(ERRORS[works % len(ERRORS)], works)
    monkeypatch.setattr(sys, "stderr", log)
    assert run().read_bytes() == whole.read_bytes()
    assert log.works < 0, "the log did fail"


_NO_PICTURE = [
    OSError(errno.ENOSPC, "No space left on device"),
    MemoryError("of the machine"),
    RuntimeError("CUDA: not enough memory: 9 bytes"),
    EnvironmentFault("the folder cannot be made", where="sample"),
    DivergedError("the picture holds NaN"),
]


@pytest.mark.parametrize("error", _NO_PICTURE, ids=str)
def test_a_preview_that_cannot_be_drawn_ends_no_run(
    run: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    drawn = {"sample_every_n_steps": 2, "sample_prompts": ["cat --s 1 --w 32 --h 32"]}
    whole = run(output_dir=str(tmp_path / "whole"), **drawn)
    capsys.readouterr()

    def failing(*given: Any, **more: Any) -> None:
        raise error

    monkeypatch.setattr("lycoris_ext.training.terminal.sample_each", failing)
    assert run(**drawn).read_bytes() == whole.read_bytes()
    said = capsys.readouterr().err
    for step in (2, 4):
        assert f"note: no pictures after step {step}, the training goes on" in said


def test_a_full_folder_of_previews_ends_no_run(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sample").touch()  # no folder can be made there
    assert run(sample_every_n_steps=4, sample_prompts=["cat --s 1 --w 32 --h 32"]).is_file()
    assert "no pictures after step 4" in capsys.readouterr().err


def test_a_bug_in_drawing_ends_the_run_and_saves_it(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*given: Any, **more: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("lycoris_ext.training.terminal.sample_each", failing)
    with pytest.raises(RuntimeError, match="a bug"):
        run(sample_every_n_steps=2, sample_prompts=["cat --s 1 --w 32 --h 32"])
    assert (tmp_path / "out" / "test-step-2.safetensors").is_file()


def test_an_event_log_that_cannot_be_written_saves_the_run_which_then_goes_on(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(output_dir=str(tmp_path / "whole"))
    events, write = tmp_path / "out" / "test.events.jsonl", EventLog.write

    def failing(log: EventLog, event: str, step: int, **values: Any) -> None:
        if step == 2:
            log.path = events.parent  # a folder, which no line can be written into
        write(log, event, step, **values)

    monkeypatch.setattr(EventLog, "write", failing)
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        run()
    assert (tmp_path / "out" / "test-step-2.safetensors").is_file()
    monkeypatch.undo()
    assert run().read_bytes() == whole.read_bytes()
    steps = [event["step"] for event in read_events(events) if event["event"] == "step"]
    assert steps == [1, 2, 3, 4]


def test_an_adapter_that_is_deleted_at_the_end_is_no_success(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Run.save_final

    def deleted(run: Run, keep_state: bool) -> None:
        save(run, keep_state)
        run.paths.adapter.unlink()

    monkeypatch.setattr(Run, "save_final", deleted)
    with pytest.raises(EnvironmentFault, match="its adapter is gone"):
        run()


_SIGNALS = [name for name in ("SIGHUP", "SIGUSR1", "SIGTERM", "SIGINT") if hasattr(signal, name)]


def _signalled(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let each step of a training begin with a signal."""
    step = recipe.train_step

    def signalled(*arguments: Any, **more: Any) -> Any:
        signal.raise_signal(getattr(signal, name))
        return step(*arguments, **more)

    monkeypatch.setattr(recipe, "train_step", signalled)


@pytest.mark.parametrize("name", _SIGNALS)
def test_a_closed_terminal_and_signals_to_stop_save_the_run(
    run: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    _signalled(monkeypatch, name)
    with pytest.raises(RunInterrupted, match="stopped after step 1 of 4"):
        run()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_under_nohup_a_closed_terminal_ends_no_run(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _signalled(monkeypatch, "SIGHUP")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run().is_file()
    finally:
        signal.signal(signal.SIGHUP, before)
