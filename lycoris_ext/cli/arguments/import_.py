"""The arguments of `lycoris-ext import`."""

from __future__ import annotations

import argparse
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    made = argparse.ArgumentParser(
        prog="lycoris-ext import",
        description="Write the config of another program (sd-scripts, its dataset_config or its "
        "command line, kohya_ss, ...) as a commented config of this library.",
    )
    made.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="a config; later ones override"
    )
    made.add_argument("-o", "--output", type=Path, help="path of the new config")
    made.add_argument(
        "--skip-unsupported",
        action="store_true",
        help="leave out settings that are not supported instead of refusing the file; the new "
        "config and its adapters name them",
    )
    return made
