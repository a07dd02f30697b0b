"""Ctrl-C in a terminal reaches every process of a training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.training_world import Training

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="it signals a group of processes")
def test_ctrl_c_to_every_process_of_a_run_saves_it_without_a_traceback(tmp_path: Path) -> None:
    """A terminal sends the signal to the loader's workers, too."""
    training = Training(tmp_path, steps=60, workers=2)
    process = subprocess.Popen(
        [sys.executable, "-m", "lycoris_ext", *training.command],
        stderr=subprocess.PIPE,
        cwd=ROOT,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    while training.last_step() < 2 and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert b"stopped after step" in said
    assert b"Traceback" not in said
