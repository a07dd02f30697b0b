"""The arguments of `lycoris-ext ema`."""

from __future__ import annotations

import argparse
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    made = argparse.ArgumentParser(
        prog="lycoris-ext ema",
        description="Average the checkpoints that a run saved, the later ones with larger weights "
        "(post-hoc EMA with power-function weights, Karras et al. 2024). No checkpoint is changed.",
    )
    made.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILES",
        help="two or more checkpoints of one run, in any order if they record their steps",
    )
    made.add_argument(
        "--sigma",
        type=float,
        required=True,
        help="width of the average as a share of the run: 0.05 to 0.2 are usual, and at 0.2886 all "
        "steps weigh the same",
    )
    made.add_argument(
        "-o",
        "--output",
        type=Path,
        help="path of the average (default: NAME-ema-SIGMA.safetensors beside the last checkpoint)",
    )
    return made
