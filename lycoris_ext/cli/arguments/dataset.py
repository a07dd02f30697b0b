"""The arguments of `lycoris-ext dataset`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lycoris_ext.cli.arguments.dataset_caption import add_caption

ROUNDINGS = ("floor", "nearest", "fractional")
PICTURES = 2_000


def parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands."""
    made = argparse.ArgumentParser(
        prog="lycoris-ext dataset",
        description="Look at a data set, and prepare it for training. No picture and no caption "
        "file is ever changed.",
    )
    commands = made.add_subparsers(dest="action", required=True, metavar="ACTION")
    _report(commands)
    _balance(commands)
    _tags(commands)
    add_caption(commands)
    _diff(commands)
    return made


def _report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    made = commands.add_parser(
        "report",
        help="count pictures, repeats, concepts, sizes, tags and caption lengths",
        description="Count what a data set holds, level by level: pictures and samples in an "
        "epoch, concepts and which of them stand together, sizes and buckets, tags and lengths "
        "of captions. Without --check only the headers of pictures are read.",
    )
    made.add_argument("place", type=Path, help="a folder of pictures, or a config")
    shown = made.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print all of it as a JSON object")
    shown.add_argument(
        "--html",
        type=Path,
        metavar="FOLDER",
        help="write a page with the pictures into a folder of its own, outside of the data set",
    )
    made.add_argument(
        "--check",
        action="store_true",
        help="decode every picture, too, and tell all that lycoris-ext check finds",
    )
    made.add_argument(
        "--pictures",
        type=_count,
        default=PICTURES,
        metavar="N",
        help="the most pictures that the page shows, at about 15 kB each; of more, it shows those "
        f"behind findings, those of rare tags and some of every folder (default: {PICTURES})",
    )


def _balance(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    made = commands.add_parser(
        "balance",
        help="share an epoch among the folders, level by level",
        description="Share an epoch among the folders: at every level, all folders get the same "
        "part of it, or parts by weights. Folders are named REPEATS_level~level~name, or nested, "
        "with a multiply.txt in each. Without --write or --config nothing is written.",
    )
    made.add_argument("folder", type=Path, help="the folder that holds all others")
    made.add_argument(
        "--weights",
        type=Path,
        metavar="FILE.csv",
        help="rows of a folder's name, or a pattern on its path, and its weight (default: 1)",
    )
    made.add_argument(
        "--rounding",
        choices=ROUNDINGS,
        default="floor",
        help="how repeats become whole, or have two decimals: a random part of the pictures is "
        "then shown (default: floor)",
    )
    made.add_argument(
        "--most", type=int, default=100, help="the most repeats of a folder (default: 100)"
    )
    made.add_argument("--json", action="store_true", help="print the result as a JSON object")
    writing = made.add_mutually_exclusive_group()
    writing.add_argument(
        "--write",
        action="store_true",
        help="write the repeats into the names of the folders, or into the multiply.txt of nested "
        "folders",
    )
    writing.add_argument(
        "--config",
        type=Path,
        metavar="FILE.toml",
        help="write a config with a table of subsets for every folder, and leave the folders as "
        "they are",
    )
    writing.add_argument(
        "--undo", action="store_true", help="take back what --write changed in this folder"
    )


def _diff(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    made = commands.add_parser(
        "diff",
        help="say what changed in a data set since a run",
        description="Compare the pictures and captions that a run trained with those of a folder "
        "or config: what is new, gone, renamed or changed, which tags of captions, which repeats "
        "and which options. A folder is read with the options of the run. Exit code 0: all is the "
        "same; 1: something changed.",
    )
    made.add_argument(
        "run",
        type=Path,
        help="the folder of a run, its name, or its adapter; of an adapter alone the fingerprint "
        "tells whether something changed, and not what",
    )
    made.add_argument(
        "place",
        type=Path,
        nargs="?",
        help="a folder of pictures, or a config (default: what the run read)",
    )
    made.add_argument("--json", action="store_true", help="print all of it as a JSON object")


def _count(text: str) -> int:
    """Return a number of 0 or more."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("it is below 0")
    return number


class _Edit(argparse.Action):
    """Keeps the edits in the order in which they are written."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        edits = list(getattr(namespace, self.dest) or [])
        name = str(self.option_strings[0]).removeprefix("--")
        texts = [values] if isinstance(values, str) else list(values)
        setattr(namespace, self.dest, [*edits, (name, texts)])


def _tags(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    made = commands.add_parser(
        "tags",
        help="add, remove, rename and replace tags of captions, in a caption set",
        description="Edit the tags of captions. The originals are never written to: captions that "
        "change are written into a caption set beside them, which the option caption_set trains "
        "with. Without --write nothing is written. Edits may be repeated and are made in the order "
        "in which they are given.",
    )
    made.add_argument("place", type=Path, help="a folder of pictures, or a config")
    made.add_argument(
        "--select",
        metavar="QUERY",
        help="which pictures, such as 'tag:1girl folder:fanart NOT tag:\"long hair\" tokens:>75' "
        "(default: all)",
    )
    for name, values, text in (
        ("add", ("TAG",), "add a tag at the end, where it is not there"),
        ("add-first", ("TAG",), "add a tag at the beginning, where it is not there"),
        ("remove", ("TAG",), "remove a tag; * and ? stand for any text and any character"),
        ("rename", ("OLD", "NEW"), "give a tag another name; OLD may hold * and ?"),
        ("replace", ("TEXT", "NEW"), "replace a text inside of all tags"),
    ):
        many = len(values) if len(values) > 1 else None
        metavar = values if many else values[0]
        made.add_argument(
            f"--{name}", action=_Edit, dest="edits", nargs=many, metavar=metavar, help=text
        )
    for name, metavar, text in (
        ("blacklist", "FILE", "remove the tags that a text file lists, one a line"),
        (
            "implied",
            "FILE.json",
            "remove tags that others there imply: a JSON table {tag: [...]}",
        ),
        (
            "level-rules",
            "FILE.toml",
            "add and remove tags by the levels in the names of folders, as level_rules does",
        ),
        ("everydream", "", "add the tags that EveryDream2 reads from local.yaml and global.yaml"),
        ("overlaps", "", "remove tags that are a part of another, as hair is of long hair"),
        ("prune", "", "remove what belongs to the concepts of the folder, as --core finds it"),
    ):
        more: Any = {"metavar": metavar} if metavar else {"nargs": 0}
        made.add_argument(f"--{name}", action=_Edit, dest="edits", help=text, **more)
    made.add_argument(
        "--threshold",
        type=float,
        default=0.35,
        help="for --core and --prune: the least share of the pictures of a concept alone that have "
        "a tag of it (default: 0.35)",
    )
    made.add_argument(
        "--lift",
        type=float,
        default=2.0,
        help="for --core and --prune: how many times as often a tag must stand there as in other "
        "pictures at the same levels (default: 2)",
    )
    made.add_argument(
        "--truth",
        type=Path,
        metavar="FILE.json",
        help="for --core: a JSON object of concepts and lists of the tags that belong to them, to "
        "print precision and recall",
    )
    made.add_argument(
        "--set", default="edited", help="the caption set that is written (default: edited)"
    )
    made.add_argument(
        "--seed",
        type=int,
        default=0,
        help="for --fields: another seed draws other fields (default: 0)",
    )
    begin = made.add_mutually_exclusive_group()
    begin.add_argument(
        "--fields",
        nargs="+",
        metavar="FIELD",
        help="edit captions built of fields, as the option caption_fields does, each drawn once "
        "for each picture, such as: --fields character image_type tags:0.5",
    )
    begin.add_argument(
        "--from",
        dest="source",
        metavar="SET",
        help='edit the captions of another set, or with "" the originals (default: those that '
        "--set has now, and the originals of pictures that it lacks)",
    )
    made.add_argument("--json", action="store_true", help="print all changes as a JSON object")
    doing = made.add_mutually_exclusive_group()
    doing.add_argument("--write", action="store_true", help="write the caption set")
    doing.add_argument(
        "--undo", action="store_true", help="take back the last --write into this --set"
    )
    doing.add_argument(
        "--core",
        action="store_true",
        help="show which tags belong to the concepts of the folders; nothing is written",
    )
    doing.add_argument(
        "--diff", metavar="SET", help="show how the captions of a set differ from the originals"
    )
