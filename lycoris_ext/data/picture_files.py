"""List folders, and tell picture files by their names."""

from __future__ import annotations

import os
from pathlib import Path

from lycoris_ext.os_errors import reason

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif"})
PICTURE_ENDINGS = ", ".join(sorted(PICTURE_SUFFIXES))
OTHER_PICTURE_SUFFIXES = frozenset({".gif", ".jxl", ".heic", ".tif", ".tiff", ".psd"})
"""Endings of picture files that are left out, because Pillow reads them badly or not at all."""
NOT_THERE = ("does not exist", "is a file, not a folder")
"""Why a folder cannot be read if its path is wrong."""
IGNORED_NAMES = frozenset({"thumbs.db", "desktop.ini", "__macosx", "caption_sets"})
"""Written by operating systems, or by this package (data/caption_sets.py)."""


def list_folder(folder: Path) -> tuple[list[Path], str]:
    """List files and folders sorted by name, without hidden ones and those of operating systems.

    Returns:
        The paths, and why the folder cannot be read, such as "does not exist"; "" if it can be.
    """
    try:
        paths = sorted(folder.iterdir(), key=lambda path: path.name)
    except FileNotFoundError:
        return [], NOT_THERE[0]
    except NotADirectoryError:
        return [], NOT_THERE[1]
    except OSError as error:
        return [], f"cannot be read ({reason(error)})"
    return [path for path in paths if not is_left_out(path.name)], ""


def is_left_out(name: str) -> bool:
    """Tell whether a file or folder of this name is hidden, or an operating system's."""
    return name.startswith(".") or name.lower() in IGNORED_NAMES


def is_picture_name(name: str) -> bool:
    """Tell whether a file's name has the ending of a supported picture format."""
    return os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES and not name.startswith(".")


def is_picture(path: Path) -> bool:
    """Tell whether a path is a file with the ending of a supported picture format."""
    return is_picture_name(path.name) and "__MACOSX" not in path.parts and path.is_file()
