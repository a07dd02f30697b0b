"""The base runs on torch, safetensors, pillow and packaging alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lycoris_ext.cli.extra import install_line

HERE = Path(__file__).resolve().parent

# Process time of this import alone, torch already loaded: what a host pays at its start.
IMPORT_COST = """
import time
import torch
started = time.process_time()
import lycoris_ext
print(time.process_time() - started)
"""

# `lycoris-ext` as the console script runs it, with one package of [train] after the other missing.
COMMAND_WITHOUT = """
import sys
sys.modules[sys.argv.pop(1)] = None
from lycoris_ext.cli import main
sys.exit(main())
"""


def run_python(*arguments: str, expected: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == expected, done.stdout + done.stderr
    return done


def test_base_modules_import_and_train_without_the_train_extra() -> None:
    imported = run_python(str(HERE / "base_only.py")).stdout.split()
    for package in ("functional", "algorithms", "formats", "modules", "network", "data"):
        assert f"lycoris_ext.{package}" in imported
    assert "lycoris_ext.diffusion" in imported


def test_importing_the_package_costs_little_beyond_torch() -> None:
    costs = [float(run_python("-c", IMPORT_COST).stdout) for _ in range(3)]
    assert min(costs) <= 0.2, f"import lycoris_ext took {costs} s of CPU beyond import torch"


@pytest.mark.parametrize("missing", ["diffusers", "transformers", "tyro", "tqdm"])
def test_train_without_a_package_of_the_extra_train_names_the_pip_line(
    missing: str, tiny_base: Path, pictures: Path, tmp_path: Path
) -> None:
    config = tmp_path / "my.toml"
    config.write_text(
        f"pretrained_model_name_or_path = {str(tiny_base)!r}\n"
        f"train_data_dir = {str(pictures)!r}\noutput_dir = {str(tmp_path / 'out')!r}\n"
        "resolution = 32\nmax_train_steps = 1\n",
        encoding="utf-8",
    )
    done = run_python("-c", COMMAND_WITHOUT, missing, "train", str(config), expected=4)
    assert install_line() in done.stderr
    assert "Traceback" not in done.stderr
