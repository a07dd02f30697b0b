"""The arguments of `lycoris-ext check`."""

from __future__ import annotations

import argparse
from pathlib import Path

FORMATS = ("text", "json", "sarif")


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    made = argparse.ArgumentParser(
        prog="lycoris-ext check",
        description="Find what is wrong or notable in a data set, as train does before its first "
        "step: folders, captions and every picture. Nothing is written beside the pictures; what "
        "was found in a picture is kept in the user's folder of caches, or in cache_dir, so that "
        "the next check decodes new and changed pictures alone. The exit code is 3 if training "
        "could not start.",
    )
    made.add_argument("place", nargs="?", type=Path, help="a config, or a folder of pictures")
    made.add_argument(
        "--format", choices=FORMATS, default="text", help="how findings are printed (default: text)"
    )
    made.add_argument(
        "--json",
        dest="format",
        action="store_const",
        const="json",
        help="the same as --format json",
    )
    made.add_argument(
        "--strict",
        action="store_true",
        help="exit with code 3 for warnings, too; notes never count",
    )
    made.add_argument(
        "--silence",
        action="append",
        default=[],
        metavar="CODE",
        help="do not report warnings or notes of this code, such as LX019; may be repeated",
    )
    made.add_argument(
        "--again",
        action="store_true",
        help="read and decode every picture again, whatever earlier checks found in it",
    )
    made.add_argument("--explain", metavar="CODE", help="say what a code means, such as LX012")
    made.add_argument("--list", action="store_true", help="list all codes")
    return made
