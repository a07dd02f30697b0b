"""The scripts in examples/ run and write the file that they name."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from lycoris_ext import load_adapter

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_each_example_runs_with_fewer_steps_and_writes_its_file(
    script, tmp_path, monkeypatch, capsys
):
    arguments = ["--steps", "2", "--output-dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [script.name, *arguments])
    monkeypatch.syspath_prepend(str(EXAMPLES))
    runpy.run_path(str(script), run_name="__main__")
    check_result(capsys.readouterr().out, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_each_example_runs_as_it_is_and_writes_its_file(script, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    check_result(done.stdout, tmp_path)


def check_result(printed: str, folder: Path) -> None:
    """Assert that the last printed line names a file in the folder, and that it can be read."""
    name = printed.strip().splitlines()[-1].removeprefix("adapter: ").partition(",")[0]
    result = folder / name
    assert result.is_file(), printed
    if result.suffix == ".png":
        Image.open(result).load()
    else:
        assert load_adapter(result).tensors
