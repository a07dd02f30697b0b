"""Picture files that are small to write and large to decode, or no pictures at all."""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from PIL import Image, features

from lycoris_ext.data.pictures import check_picture
from tests.faults.bounded import NEEDS, read_or_refused
from tests.faults.trials import Kind, Trial

_SIDE = 4000
"""Of pictures whose decoding must stay below the limit of memory, 400 MB: 25 bytes a pixel."""
_OTHERS = ("GIF", "TIFF", "ICO", "PPM", "TGA", "PCX", "SGI", "DDS", "JPEG2000", "PDF")
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16")
_HEADS = {
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\n",
    "postscript in a frame": b"\xc5\xd0\xd3\xc6" + bytes(26) + b"%!PS-Adobe-3.0\n",
    "windows metafile": b"\xd7\xcd\xc6\x9a" + bytes(60),
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "nothing": b"",
    "zeros": bytes(1000),
    "heic": b"\0\0\0\x18ftypheic" + bytes(60),
    "avif's head alone": b"\0\0\0\x1cftypavif" + bytes(60),
    "a page": b"<html>",
}


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def _png(width: int, height: int, *, colour: int = 2, chunks: bytes = b"", rows: int = 0) -> bytes:
    """Return a PNG of any size with at most some rows of zeros."""
    line = {0: 1, 2: 3, 4: 2, 6: 4}[colour] * width + 1
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    data = _chunk(b"IDAT", zlib.compress(bytes(line * rows)))
    return b"\x89PNG\r\n\x1a\n" + head + chunks + data + _chunk(b"IEND", b"")


def _encoded(mode: str, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (_SIDE, _SIDE)).save(file, kind, **options)
    return file.getvalue()


def _contents() -> dict[str, Callable[[], bytes]]:
    """Return how the bytes of each picture are made; only some of them are."""
    text = _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80_000_000)))
    profile = _chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(80_000_000)))
    made: dict[str, Callable[[], bytes]] = {
        "20,000 pixels square": lambda: _png(20_000, 20_000),
        "2,147,483,647 pixels wide": lambda: _png(2**31 - 1, 1),
        "a line of 178 million pixels": lambda: _png(178_000_000, 1, colour=0),
        "a text of 80 MB": lambda: _png(8, 8, chunks=text, rows=8),
        "a profile of 80 MB": lambda: _png(8, 8, chunks=profile, rows=8),
        "100,000 chunks": lambda: _png(8, 8, chunks=_chunk(b"tEXt", b"a\0b") * 100_000, rows=8),
        "cut": lambda: _png(2000, 2000, rows=3),
    }
    made |= {name: partial(bytes, head) for name, head in _HEADS.items()}
    for mode in _MODES:
        if mode != "CMYK":
            made[f"PNG {mode}"] = partial(_encoded, mode, "PNG", compress_level=1)
    for mode in ("L", "RGB", "CMYK"):
        made[f"JPEG {mode}"] = partial(_encoded, mode, "JPEG")
        made[f"progressive JPEG {mode}"] = partial(_encoded, mode, "JPEG", progressive=True)
    for mode in ("RGB", "RGBA"):
        made[f"WEBP {mode}"] = partial(_encoded, mode, "WEBP", method=0)
        made[f"lossless WEBP {mode}"] = partial(_encoded, mode, "WEBP", lossless=True, method=0)
        if features.check("avif"):
            made[f"AVIF {mode}"] = partial(_encoded, mode, "AVIF", speed=10)
    for mode in ("1", "L", "P", "RGB"):
        made[f"BMP {mode}"] = partial(_encoded, mode, "BMP")
    for kind in _OTHERS:
        made[f"named .png: {kind}"] = partial(_small, kind)
    return made


def _small(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 32)).save(file, kind)
    return file.getvalue()


def _sparse(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(6 * 10**9)


def _link_to_nowhere(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _hostile(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    makes: dict[str, Callable[[Path], None]] = {
        name: lambda path, make=make: path.write_bytes(make()) and None
        for name, make in _contents().items()
    }
    makes |= {"6 GB": _sparse, "a device": _link_to_nowhere, "a pipe": lambda path: os.mkfifo(path)}
    names = random.Random(seed).sample(sorted(makes), min(number, len(makes)))
    # What is made in the process itself counts: nothing but the decoding shall take memory there.
    paths = [folder / f"{turn}.png" for turn in range(len(names))]
    for name, path in zip(names, paths, strict=True):
        makes[name](path)
    yield from read_or_refused(
        (name, partial(check_picture, path)) for name, path in zip(names, paths, strict=True)
    )


KINDS = [
    Kind(
        "a picture that is none, or is small to write and large to decode",
        _hostile,
        12,
        1000,
        before=(52, 11),
        needs=NEEDS,
    )
]
