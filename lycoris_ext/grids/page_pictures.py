"""The pictures of a grid's page: files beside the page, or data inside it.

The cache keeps every picture as PNG. A page shows a large one as JPEG, which a browser reads
sooner.
"""

from __future__ import annotations

import base64
import io
from contextlib import suppress
from pathlib import Path

from PIL import Image

from lycoris_ext.files import read_bytes
from lycoris_ext.formats import atomic_write
from lycoris_ext.grids.cells import StoredCell
from lycoris_ext.plots.png import BROKEN

#: The subfolder beside a page that holds its pictures.
FOLDER = "cells"
#: PNGs up to this many bytes stay as they are.
_PNG_BYTES = 96_000
_JPEG_QUALITY = 93


class PicturesBeside:
    """Puts pictures into the subfolder "cells" of a page's folder and gives their addresses.

    Args:
        folder: the folder of the page; it is made when the first picture is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._used: set[str] = set()

    def __call__(self, stored: StoredCell) -> str:
        """Return a picture's address, relative to the page; its file is written if it is missing.

        The address is "" if the picture was deleted from the cache meanwhile, or is damaged.

        Raises:
            EnvironmentFault: the disk is full or the folder cannot be written.
        """
        name = stored.path.stem
        try:
            if stored.fault:
                # It is drawn again under the same key, and then is another picture.
                name += f"-{stored.path.stat().st_mtime_ns:x}"
            known = (f"{name}.{kind}" for kind in ("png", "jpg"))
            file = next((name for name in known if (self._folder / name).is_file()), "")
            if not file:
                content, kind = smaller(stored.path)
                file = f"{name}.{'png' if kind == 'png' else 'jpg'}"
                atomic_write(self._folder / file, content)
        except BROKEN:
            return ""
        self._used.add(file)
        return f"{FOLDER}/{file}"

    def remove_others(self) -> None:
        """Delete the pictures in the subfolder for which no address was asked.

        Windows keeps one that a browser is reading at this moment; a later call deletes it.
        """
        for path in self._folder.glob("*.*"):
            if path.name not in self._used:
                with suppress(OSError):
                    path.unlink()


def inside(stored: StoredCell) -> str:
    """Return an address that holds the picture itself; "" if it was deleted or is damaged."""
    try:
        return embedded(stored.path)
    except BROKEN:
        return ""


def embedded(path: Path) -> str:
    """Return a picture's file as an address that holds the picture itself (a data URL)."""
    content, kind = smaller(path)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def smaller(path: Path) -> tuple[bytes, str]:
    """Return a picture's file as it is, or a large PNG as JPEG; and "png" or "jpeg".

    Args:
        path: a PNG or JPEG file.
    """
    content = read_bytes(path)
    if path.suffix != ".png":
        return content, "jpeg"
    if len(content) <= _PNG_BYTES:
        return content, "png"
    jpeg = io.BytesIO()
    with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
        # Not with `optimize`: Pillow then gives libjpeg a buffer that a noisy picture overflows.
        picture.convert("RGB").save(jpeg, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return jpeg.getvalue(), "jpeg"
