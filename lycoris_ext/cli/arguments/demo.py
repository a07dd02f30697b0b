"""The arguments of `lycoris-ext demo`."""

from __future__ import annotations

import argparse
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    made = argparse.ArgumentParser(
        prog="lycoris-ext demo",
        description="Train a LoHa on shipped pictures and show what it learned. It takes minutes.",
    )
    made.add_argument(
        "--output-dir",
        type=Path,
        default=Path("demo"),
        help="folder for all results (default: demo)",
    )
    made.add_argument(
        "--device", default="auto", help='"auto" (a GPU if there is one), "cpu" or "cuda:1"'
    )
    return made
