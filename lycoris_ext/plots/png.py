"""Write and read PNG files with generation parameters, and number the files in a folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lycoris_ext.files import open_file
from lycoris_ext.formats import atomic_write

FORMATS = ("PNG", "JPEG", "WEBP")
"""Pillow's names of the formats in which programs keep drawn pictures. It knows many more, and
hands PostScript to another program, which runs what stands in the file."""
BROKEN = (OSError, SyntaxError, ValueError, MemoryError, Image.DecompressionBombError)
"""What Pillow raises for a picture's file that is gone, damaged, or too large to be opened."""
PARAMETERS = "parameters"
"""The name of the text in which AUTOMATIC1111 writes how a picture was drawn."""
_NUMBERED = re.compile(r"^(\d{5,})-")


def save_picture(
    path: Path, picture: Image.Image, parameters: str = "", more: Mapping[str, str] = {}
) -> Path:
    """Write a PNG atomically and return its path.

    Args:
        path: the file.
        picture: the picture.
        parameters: text for the PNG's "parameters" chunk, as AUTOMATIC1111 writes it; "" for none.
        more: further texts, by the names of their chunks.
    """
    info = PngInfo()
    for name, text in {**({PARAMETERS: parameters} if parameters else {}), **more}.items():
        info.add_text(name, text)  # it makes an iTXt chunk if the text is not Latin-1
    atomic_write(path, lambda file: picture.save(file, format="PNG", pnginfo=info))
    return path


def next_number(folder: Path) -> int:
    """Return one more than the highest number with which a file name in `folder` begins, or 0."""
    if not folder.is_dir():
        return 0
    found = (_NUMBERED.match(entry.name) for entry in folder.iterdir())
    return max((int(match.group(1)) + 1 for match in found if match), default=0)


def numbered_path(folder: Path, suffix: str = ".png", at: datetime | None = None) -> Path:
    """Return the path for a folder's next picture, such as `00007-20230326090858.png`.

    Args:
        folder: the folder, which need not exist yet.
        suffix: end of the name after date and time, such as "-grid.png".
        at: date and time in the name; None means now.
    """
    moment = (at or datetime.now()).strftime("%Y%m%d%H%M%S")
    return folder / f"{next_number(folder):05d}-{moment}{suffix}"


def read_parameters(path: Path) -> str:
    """Return the text of a PNG's "parameters" chunk, or "" if a picture has none."""
    return read_texts(path).get(PARAMETERS, "")


def read_texts(path: Path) -> dict[str, str]:
    """Return the texts of a PNG by the names of their chunks; the picture is decoded for it."""
    with open_file(path) as file, Image.open(file, formats=FORMATS) as picture:
        return {name: str(text) for name, text in getattr(picture, "text", {}).items()}
