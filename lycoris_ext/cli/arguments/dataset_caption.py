"""The arguments of `lycoris-ext dataset caption`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lycoris_ext.options import Option, alternatives
from lycoris_ext.tagging.options import TaggingOptions


def add_caption(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand; its options of tagging have sd-scripts' names."""
    made = commands.add_parser(
        "caption",
        help="write captions with a tagger, into a caption set",
        description="Tag pictures with an ONNX tagger of the WD14 kind. The captions are written "
        "into a caption set beside the originals, which are never written to; the option "
        "caption_set trains with it. What the tagger says of a picture is kept: a command that was "
        "stopped goes on where it was, and one with other options takes seconds.",
    )
    made.add_argument("place", type=Path, help="a folder of pictures, or a config")
    made.add_argument(
        "--tagger",
        type=Path,
        metavar="FOLDER",
        help="the folder with model.onnx and selected_tags.csv (or tag_mapping.json)",
    )
    made.add_argument(
        "--set", default="tagged", help="the caption set that is written (default: tagged)"
    )
    made.add_argument(
        "--cache_dir",
        type=Path,
        metavar="FOLDER",
        help="where the tagger's answers are kept (default: cache_dir of the config, or "
        "output/cache)",
    )
    made.add_argument("--json", action="store_true", help="print all captions as a JSON object")
    doing = made.add_mutually_exclusive_group()
    doing.add_argument(
        "--preview", action="store_true", help="show the captions, and write none of them"
    )
    doing.add_argument(
        "--undo", action="store_true", help="take back what was last written into this --set"
    )
    doing.add_argument(
        "--diff", metavar="SET", help="show how the captions of a set differ from the originals"
    )
    options = made.add_argument_group("options of tagging, as in sd-scripts")
    for known in TaggingOptions.options().values():
        _add(options, known)


def _add(group: argparse._ArgumentGroup, known: Option) -> None:
    """Add a flag, which is absent from what is parsed unless it is given."""
    flag, text = f"--{known.name}", known.text.replace("%", "%%")
    if known.hint is bool:
        group.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=text)
        return
    kind = next(one for one in alternatives(known.hint) if one in (int, float, str))
    default = "" if known.default in (None, "") else f" (default: {known.default!r})"
    metavar = {int: "N", float: "X", str: "TEXT"}[kind]
    group.add_argument(
        flag, type=kind, default=argparse.SUPPRESS, metavar=metavar, help=f"{text}{default}"
    )


def tagging_options(given: argparse.Namespace) -> TaggingOptions:
    """Return the options of tagging that were given, and the defaults of the others.

    Raises:
        ConfigError: a value is not allowed.
    """
    names = [name for name in TaggingOptions.options() if hasattr(given, name)]
    return TaggingOptions(**{name: getattr(given, name) for name in names})
