"""The arguments of `lycoris-ext config`."""

from __future__ import annotations

import argparse
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    made = argparse.ArgumentParser(
        prog="lycoris-ext config",
        description="Write a config with which an adapter like this file can be trained. Options "
        "that the file does not record become comments.",
    )
    made.add_argument(
        "file",
        type=Path,
        help="an adapter: a .safetensors file, one of torch (.pt, .bin), or a folder of PEFT",
    )
    made.add_argument("--output", type=Path, help="path of the new config (default: ./FILE.toml)")
    return made
