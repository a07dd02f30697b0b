"""Small copies of a data set's pictures, beside the page that shows them."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from lycoris_ext.data.pictures import quiet_pillow, small_picture
from lycoris_ext.errors import DataError
from lycoris_ext.formats import atomic_write
from lycoris_ext.os_errors import reason

FOLDER = "thumbnails"
"""The subfolder beside a page that holds them."""
EDGE = 320
"""The longer side, in pixels: a picture of the contact sheet on a screen with fine pixels."""
_QUALITY = 84
_OURS = re.compile(r"[0-9a-f]{32}\.jpg")


class Thumbnails:
    """Makes small copies of pictures, and keeps those of an earlier page.

    A copy's name is a hash of the picture's path, size and time of change, so that a picture that
    was changed gets a new one.

    Args:
        folder: of the page.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._used: set[str] = set()
        self.faults: dict[Path, str] = {}
        """Picture -> why there is no small copy of it."""

    def make(self, pictures: Iterable[Path], progress: Callable[[int], object]) -> dict[Path, str]:
        """Make the copies that are missing, in threads.

        Args:
            pictures: the files; they are only read.
            progress: called with the number of pictures done since the last call.

        Returns:
            Picture -> address of its copy, relative to the page; without those in `faults`.

        Raises:
            EnvironmentFault: the disk is full or the folder cannot be written.
        """
        paths = list(dict.fromkeys(pictures))
        made: dict[Path, str] = {}
        with quiet_pillow(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for path, name in zip(paths, pool.map(self._copy, paths), strict=True):
                if name:
                    made[path] = f"{FOLDER}/{name}"
                    self._used.add(name)
                progress(1)
        return made

    def remove_others(self) -> None:
        """Delete the copies of an earlier page that this one does not show.

        Windows keeps one that a browser is reading at this moment; a later call deletes it.
        """
        for path in self._folder.glob("*.jpg"):
            if path.name not in self._used and _OURS.fullmatch(path.name):
                with suppress(OSError):
                    path.unlink()

    def _copy(self, picture: Path) -> str:
        """Return the name of a picture's copy; "" if the picture cannot be read."""
        try:
            state = picture.stat()
            key = (os.path.abspath(picture), state.st_mtime_ns, state.st_size, EDGE, _QUALITY)
            digest = hashlib.blake2b(repr(key).encode("utf-8", "replace"), digest_size=16)
            name = f"{digest.hexdigest()}.jpg"
            if not (self._folder / name).is_file():
                jpeg = io.BytesIO()
                small_picture(picture, EDGE).save(jpeg, "JPEG", quality=_QUALITY)
                atomic_write(self._folder / name, jpeg.getvalue())
        except DataError as error:
            self.faults[picture] = error.what
            return ""
        except OSError as error:  # it was deleted meanwhile
            self.faults[picture] = f"it cannot be read ({reason(error)})"
            return ""
        return name
