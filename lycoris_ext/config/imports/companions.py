"""Find the files that a config names."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from lycoris_ext.files import expanded


def find_companion(name: str, folders: Iterable[Path]) -> Path | None:
    r"""Return the path of a file that a config names; None if it is not there.

    Args:
        name: as the config has it; \ is read as /.
        folders: where a relative path may start; the first in which the file is counts.
    """
    for folder in folders:
        # Too long, with a null character, or in the home folder of nobody: it is not there.
        with suppress(OSError, ValueError):
            path = folder / expanded(name.replace("\\", "/"))
            if path.is_file():
                return path
    return None
