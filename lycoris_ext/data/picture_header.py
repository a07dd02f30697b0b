"""Open a picture file: which formats are read, and how much memory decoding may take.

A picture file of a few kB may hold a picture of gigabytes. How large it is stands in its header,
before anything is decoded, and all threads together decode only as much as ``DECODING`` allows.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from PIL import __version__ as pillow_version

from lycoris_ext.data.memory_budget import MemoryBudget
from lycoris_ext.errors import DataError
from lycoris_ext.formats.strangers import LOOK, start_of

FILES = MemoryBudget(10**9)
"""Bytes of picture files that are in memory at the same time, and so the largest file."""
DECODING = MemoryBudget(3 * 2**30)
"""Bytes that pictures take while they are decoded at the same time, in one process."""
_BYTES_PER_PIXEL = 18
"""What decoding takes at most: 8 for a photo, 9 with transparency, 16 for WebP (measured with
Pillow 13 by tests/faults/pictures.py; the copies are in ``decode``)."""
MOST_PIXELS = DECODING.total // _BYTES_PER_PIXEL
"""The largest picture, width times height: 178,956,970 pixels, Pillow's own limit."""
SCALE_DOWN = "scale the picture down, or delete it"

_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "BMP", "AVIF")
"""Pillow's names of the formats that are read. It knows many more, reads some of them badly, and
hands PostScript to another program, which runs what stands in the file."""

_OTHERS = {
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"%!PS": "PostScript (EPS)",
    b"\xc5\xd0\xd3\xc6": "PostScript (EPS)",
    b"8BPS": "Photoshop's own format (PSD)",
    b"\0\0\1\0": "an icon (ICO)",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"DDS ": "DDS",
    b"qoif": "QOI",
    b"icns": "an icon (ICNS)",
    b"<svg": "SVG",
}
"""How files of other formats begin -> what the format is called."""
_CONTAINERS = {
    b"ftypavif": "AVIF",
    b"ftypavis": "AVIF",
    b"ftypheic": "HEIC",
    b"ftypheix": "HEIC",
    b"ftypmif1": "HEIC",
}
"""Bytes 4 to 12 of a file -> what the format is called."""


@dataclass(frozen=True)
class Header:
    """What is known of a picture before it is decoded.

    Args:
        format: Pillow's name of it.
        size: (width, height) in pixels as stored, which may be lying on their side.
        frames: how many pictures there are in the file.
    """

    format: str
    size: tuple[int, int]
    frames: int

    @property
    def memory(self) -> int:
        """How many bytes decoding takes at most."""
        return self.size[0] * self.size[1] * _BYTES_PER_PIXEL


def open_image(picture: bytes | Path) -> Image.Image:
    """Open a picture of a supported format with Pillow; nothing is decoded yet.

    Args:
        picture: the content of a file, or its path.

    Raises:
        PIL.UnidentifiedImageError: it is of another format, or no picture.
        Exception: anything else that Pillow raises on damaged files.
    """
    source = picture if isinstance(picture, Path) else io.BytesIO(picture)
    Image.init()
    known = [name for name in _FORMATS if name in Image.OPEN]
    return Image.open(source, formats=known)


def read_header(raw: bytes, where: str) -> Header:
    """Read size and format of a picture.

    Args:
        raw: the content of the file.
        where: its name, for messages.

    Raises:
        DataError: the picture has more than ``MOST_PIXELS``.
        Exception: anything that Pillow raises on damaged files.
    """
    with open_image(raw) as picture:
        width, height = picture.size
        if width * height > MOST_PIXELS:
            raise DataError(
                f"too large: it has {width} x {height} pixels, and pictures of up to "
                f"{MOST_PIXELS:,} pixels (width times height) are read",
                where=where,
                fix=SCALE_DOWN,
            )
        return Header(str(picture.format), picture.size, getattr(picture, "n_frames", 1))


def why_not_opened(raw: bytes) -> str:
    """Say what a file is that is no picture of a supported format."""
    container = _CONTAINERS.get(raw[4:12])
    if container == "AVIF" and ".avif" not in Image.registered_extensions():
        return (
            f"AVIF, which this Pillow ({pillow_version}) does not read: "
            'pip install --upgrade "pillow>=11.3"'
        )
    other = next((name for start, name in _OTHERS.items() if raw.startswith(start)), container)
    if other not in (None, "AVIF"):
        return f"{other}, which is not read here: save it as PNG or JPEG"
    kind = start_of(raw[:LOOK], len(raw))
    told = f": this is {kind.name}" if kind else ", or damaged at its start"
    return f"not a picture{told}"
