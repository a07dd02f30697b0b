"""Find a font for labels with any version of Pillow."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from PIL import ImageFont

#: Files that Pillow finds by name in the system's folders.
_USUAL = ("DejaVuSans.ttf", "LiberationSans-Regular.ttf", "arial.ttf", "Arial.ttf", "Helvetica.ttc")
_chosen: list[Path] = []


def choose_font(path: Path) -> None:
    """Use a font file for all labels from now on; for hosts that ship a font with an old Pillow."""
    _chosen[:] = [path]
    font.cache_clear()


@cache
def font(size: int) -> Any:
    """Return a Pillow font of a size in pixels.

    Pillow before 10.1 ships only one small bitmap font, so a font file of the system is used if
    there is one.
    """
    for name in map(str, _chosen):
        return ImageFont.truetype(name, size)
    try:
        return ImageFont.load_default(size)
    except TypeError:
        pass
    for name in _USUAL:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default()
