"""The arguments of `lycoris-ext init`."""

from __future__ import annotations

import argparse
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    made = argparse.ArgumentParser(
        prog="lycoris-ext init", description="Write a commented config for a folder of pictures."
    )
    made.add_argument("folder", type=Path, help="a folder of pictures, or of 10_name folders")
    made.add_argument("--output", type=Path, help="new config (default: ./FOLDER.toml)")
    made.add_argument(
        "--base",
        help="base model: a Stable Diffusion 1.x, 2.x or XL file or diffusers folder (default: "
        "mini, the small one that ships with this package)",
    )
    made.add_argument(
        "--all", action="store_true", help="write every option; otherwise those often changed"
    )
    return made
