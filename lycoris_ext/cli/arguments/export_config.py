"""The arguments of `lycoris-ext export-config`."""

from __future__ import annotations

import argparse
from pathlib import Path

PROGRAMS = ("sd-scripts", "kohya-gui")
"""The formats of ``config.exports``, whose import takes seconds."""


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    made = argparse.ArgumentParser(
        prog="lycoris-ext export-config",
        description="Write a config for another program, which then trains the same network with "
        "the same settings: sd-scripts (TOML) or the window of kohya_ss (JSON). Both need this "
        "package in their environment.",
    )
    made.add_argument("file", type=Path, metavar="FILE", help="a config that train takes")
    made.add_argument("--to", choices=PROGRAMS, required=True, help="the other program")
    made.add_argument("-o", "--output", type=Path, help="path of the new config")
    made.add_argument(
        "--skip-unsupported",
        action="store_true",
        help="leave out what the other program cannot do, and what is not supported of the given "
        "file, instead of refusing the file",
    )
    return made
