"""Pictures on disk: numbered, never overwritten, with the text that tells how they came about."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lycoris_ext.formats import atomic_write

_NUMBERED = re.compile(r"^(\d{5,})-")


def save_picture(path: Path, picture: Image.Image, parameters: str = "") -> Path:
    """Write a PNG whole or not at all; `parameters` becomes its text chunk of that name."""
    info = PngInfo()
    if parameters:
        # add_text picks iTXt by itself where the text is not Latin-1.
        info.add_text("parameters", parameters)
    atomic_write(path, lambda file: picture.save(file, format="PNG", pnginfo=info))
    return path


def next_number(folder: Path) -> int:
    """Return the number after the highest that a file of `folder` begins with; 0 in a new one."""
    if not folder.is_dir():
        return 0
    found = (_NUMBERED.match(entry.name) for entry in folder.iterdir())
    return max((int(match.group(1)) + 1 for match in found if match), default=0)


def numbered_path(folder: Path, suffix: str = ".png", at: datetime | None = None) -> Path:
    """Name the next picture of a folder, as in `00007-20230326090858.png`.

    Args:
        folder: need not exist yet.
        suffix: what follows the date and time, such as "-grid.png".
        at: the moment to write into the name; None is now.
    """
    moment = (at or datetime.now()).strftime("%Y%m%d%H%M%S")
    return folder / f"{next_number(folder):05d}-{moment}{suffix}"


def read_parameters(path: Path) -> str:
    """Return the `parameters` text of a PNG, or "" where it has none."""
    with Image.open(path) as picture:
        return str(getattr(picture, "text", {}).get("parameters", ""))
