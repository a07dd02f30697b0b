"""A wrong flag is told, and help shown, before seconds of imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lycoris_ext.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
# train makes its flags of the options of all sections, some of which need torch.
QUICK = [command for command in COMMANDS if command != "train"]


@pytest.mark.parametrize("command", QUICK)
def test_the_arguments_of_a_command_are_read_without_torch(command):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from lycoris_ext.cli import main\n"
        f"main([{command!r}, '--help'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert f"usage: lycoris-ext {command}" in done.stdout
