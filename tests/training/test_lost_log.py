"""A training ends by its user, its end or a fault of its own; a log that is lost ends none."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from lycoris_ext.errors import RunInterrupted
from lycoris_ext.training import train as recipe
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


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_a_terminal_that_is_closed_saves_the_run(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    step = recipe.train_step

    def hung_up(*arguments: Any, **more: Any) -> Any:
        os.kill(os.getpid(), signal.SIGHUP)
        return step(*arguments, **more)

    monkeypatch.setattr(recipe, "train_step", hung_up)
    with pytest.raises(RunInterrupted, match="stopped after step 1 of 4"):
        run()
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_IGN)  # under nohup
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run().is_file()
    finally:
        signal.signal(signal.SIGHUP, before)
