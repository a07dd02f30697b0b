"""Arrange real pictures of other people as data sets; they are never committed.

FOLDER holds what these commands bring (Debian 12; the licences lie beside the pictures):

    git clone https://github.com/google/dreambooth FOLDER/dreambooth
    apt-get download tuxpaint-stamps-default wesnoth-1.16-data
    for package in *.deb; do dpkg-deb -x "$package" FOLDER; done

LYCORIS_EXT_PICTURES=FOLDER lets tests/data/test_real_pictures.py run on them, and this makes the
data sets to look at:

    python -m tests.data.real_pictures FOLDER SETS
    lycoris-ext dataset report SETS/tuxpaint --check --html PAGE
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

_STAMPS = Path("usr/share/tuxpaint/stamps")
_PORTRAITS = Path("usr/share/games/wesnoth/1.16/data/core/images/portraits")
_CLASS = re.compile(r"^(\w+),([\w ]+)$", re.MULTILINE)


def dreambooth(source: Path, target: Path) -> None:
    """Photographs of 30 things, six or so of each: ``1_class~thing``, captioned as its prompts are.

    They are "a {unique token} {class}" with a place behind it; the token is the thing's name.
    """
    folder = source / "dreambooth/dataset"
    classes = dict(_CLASS.findall((folder / "prompts_and_classes.txt").read_text("utf-8")))
    for pictures in sorted(path for path in folder.iterdir() if path.is_dir()):
        thing, kind = pictures.name, classes[pictures.name]
        to = target / f"1_{kind}~{thing}"
        shutil.copytree(pictures, to)
        for picture in to.iterdir():
            picture.with_suffix(".txt").write_text(f"a {thing} {kind}", encoding="utf-8")


def tuxpaint(source: Path, target: Path) -> None:
    """Stamps, cartoons beside photographs: ``1_cartoon~animals``, with their own text files.

    Each holds a sentence in English, and then in other languages.
    """
    folder = source / _STAMPS
    for picture in sorted(folder.rglob("*.png")):
        above = picture.relative_to(folder).parts[:-1]
        kind = "cartoon" if "cartoon" in above else "photo"
        to = target / f"1_{kind}~{above[0]}"
        to.mkdir(parents=True, exist_ok=True)
        name = "-".join([*(part for part in above[1:] if part != "cartoon"), picture.stem])
        shutil.copyfile(picture, to / f"{name}.png")
        if picture.with_suffix(".txt").exists():
            shutil.copyfile(picture.with_suffix(".txt"), to / f"{name}.txt")


def wesnoth(source: Path, target: Path) -> None:
    """Painted portraits: ``1_elves``, captioned with the words of their paths."""
    folder = source / _PORTRAITS
    for picture in sorted(folder.rglob("*.png")):
        race, *more = picture.relative_to(folder).with_suffix("").parts
        to = target / f"1_{race}"
        to.mkdir(parents=True, exist_ok=True)
        copy = to / f"{'-'.join(more)}.png"
        shutil.copyfile(picture, copy)
        words = [part.replace("-", " ").replace("_", " ") for part in (race, *more)]
        copy.with_suffix(".txt").write_text(", ".join(words), encoding="utf-8")


SETS: dict[str, Callable[[Path, Path], None]] = {
    "dreambooth": dreambooth,
    "tuxpaint": tuxpaint,
    "wesnoth": wesnoth,
}
"""Name of a data set -> makes it in a folder from what FOLDER holds."""


if __name__ == "__main__":
    for name, arrange in SETS.items():
        arrange(Path(sys.argv[1]), Path(sys.argv[2]) / name)
