"""Runs killed at random moments and inside writes end in the bytes of the unbroken run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

if sys.platform == "win32":
    pytest.skip("there is no SIGKILL", allow_module_level=True)

from benchmarks.resume_kills import ROOT, config_text, last_step, run_kills
from lycoris_ext import cli
from tests.tiny_pictures import write_pictures
from tests.tiny_pipeline import write_tiny_folder


def check(report, kills, inside):
    assert report.files == dict.fromkeys(report.files, True)
    assert report.identical
    assert report.steps_logged_once
    assert report.eight_bit_tensors > 0
    assert len(report.kills) == kills
    assert report.kills_inside_write >= inside


def test_a_run_killed_twice_and_once_inside_a_write_ends_in_the_same_bytes(tmp_path):
    def in_this_process(config, output):
        assert cli.main(["train", str(config), "--output_dir", str(output)]) == 0

    report = run_kills(
        tmp_path, kills=2, inside=1, steps=12, workers=0, seed=1, unbroken=in_this_process
    )
    check(report, 2, 1)


@pytest.mark.slow
def test_a_run_with_two_workers_killed_twenty_times_ends_in_the_same_bytes(tmp_path):
    check(run_kills(tmp_path, kills=20, inside=6, steps=160, workers=2, seed=0), 20, 5)


@pytest.mark.slow
def test_ctrl_c_to_every_process_of_a_run_saves_it_without_a_traceback(tmp_path):
    """A terminal sends the signal to the loader's workers, too."""
    base = write_tiny_folder(tmp_path / "base")
    pictures = write_pictures(tmp_path / "pictures")
    config = tmp_path / "run.toml"
    config.write_text(config_text(base, pictures, steps=60, workers=2), encoding="utf-8")
    command = [sys.executable, "-m", "lycoris_ext", "train", str(config)]
    process = subprocess.Popen(
        [*command, "--output_dir", str(tmp_path / "out")],
        stderr=subprocess.PIPE,
        cwd=ROOT,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    while last_step(tmp_path / "out") < 2 and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert b"run the same command again to continue" in said
    assert b"Traceback" not in said
