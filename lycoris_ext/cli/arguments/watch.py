"""The arguments of `lycoris-ext watch`."""

from __future__ import annotations

import argparse
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    made = argparse.ArgumentParser(
        prog="lycoris-ext watch",
        description="Show loss, rates, norms and pictures of runs in a browser, as they go on, on "
        "this machine alone; or write them as one page.",
    )
    made.add_argument(
        "runs",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="a run's output_dir, or one of its files, such as output/my.events.jsonl; several are "
        "shown beside each other",
    )
    made.add_argument("--html", type=Path, metavar="FILE", help="write the page into this file")
    made.add_argument(
        "--no-browser", action="store_true", help="print the address, and open no browser"
    )
    return made
