"""The arguments of `lycoris-ext cache`."""

from __future__ import annotations

import argparse
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands."""
    made = argparse.ArgumentParser(
        prog="lycoris-ext cache",
        description="Look after a folder of cached latents and captions (cache_dir), or after "
        "what checks found in pictures. What is deleted is computed again when a run needs it.",
    )
    commands = made.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = commands.add_parser("ls", help="count files and bytes, and when they were used")
    verifying = commands.add_parser(
        "verify", help="read every file and name those that are damaged"
    )
    verifying.add_argument("--delete", action="store_true", help="delete the damaged files")
    pruning = commands.add_parser("prune", help="delete the files that were not used for longest")
    pruning.add_argument("--max-gb", type=float, help="size in GB (10^9 bytes) that stays at most")
    pruning.add_argument("--unused-days", type=float, help="delete what no run used for these days")
    pruning.add_argument("--dry-run", action="store_true", help="say what would be deleted")
    for action in (listing, verifying, pruning):
        action.add_argument(
            "folder",
            type=Path,
            nargs="?",
            help="a cache_dir, such as output/cache (default: the user's folder of caches, where "
            "checks of pictures are kept)",
        )
        action.add_argument("--json", action="store_true", help="print the result as JSON")
    return made
