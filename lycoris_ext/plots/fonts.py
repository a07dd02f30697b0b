"""Fonts for labels, whatever Pillow is at hand."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from PIL import ImageFont

#: Files that Pillow finds by name in the system's folders.
_USUAL = ("DejaVuSans.ttf", "LiberationSans-Regular.ttf", "arial.ttf", "Arial.ttf", "Helvetica.ttc")
_chosen: list[Path] = []


def choose_font(path: Path) -> None:
    """Write labels in this font file from now on: for hosts with an old Pillow and a font."""
    _chosen[:] = [path]
    font.cache_clear()


@cache
def font(size: int) -> Any:
    """A font of this size in pixels.

    Pillow before 10.1 ships one small bitmap font; there a font file is looked for.
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
