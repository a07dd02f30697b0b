"""Open pictures, check every one before anything is trained, and cut them to their bucket."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageOps

from lycoris_ext.data.buckets import Placement
from lycoris_ext.data.folders import LISTED
from lycoris_ext.errors import DataError

BROKEN_PICTURE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow's decoders raise on damaged files."""


@dataclass(frozen=True)
class Checked:
    """What is known of a picture file after it was read once."""

    size: tuple[int, int]
    """(width, height) in pixels, upright."""
    digest: str
    """BLAKE2b of the file's bytes: what resuming compares."""


def open_picture(path: Path) -> Image.Image:
    """Decode a picture: upright by its EXIF orientation, transparency on white, RGB.

    Raises:
        DataError: the file is empty, damaged or no picture.
    """
    with _quiet_pillow():
        return _decode(path, _read(path))


def check_pictures(
    paths: Sequence[Path], progress: Callable[[int], object] | None = None
) -> list[Checked]:
    """Decode every picture once, in threads, and name ALL the damaged ones in one error.

    Args:
        paths: picture files.
        progress: called with the number of pictures done since the last call.

    Returns:
        Size and digest of each picture, in order.

    Raises:
        DataError: some files are damaged.
    """

    def check(path: Path) -> Checked | str:
        try:
            raw = _read(path)
            size = _decode(path, raw).size
        except DataError as error:
            return f"{path}: {error.what}"
        return Checked(size, hashlib.blake2b(raw, digest_size=16).hexdigest())

    checked: list[Checked] = []
    broken: list[str] = []
    with _quiet_pillow(), ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for result in pool.map(check, paths):
            if isinstance(result, str):
                broken.append(result)
            else:
                checked.append(result)
            if progress is not None:
                progress(1)
    if broken:
        more = f"\n  and {len(broken) - LISTED} more" if len(broken) > LISTED else ""
        raise DataError(
            f"{len(broken)} of {len(paths)} pictures cannot be read:\n  "
            + "\n  ".join(broken[:LISTED])
            + more,
            fix="replace or delete these files",
        )
    return checked


def picture_to_tensor(picture: Image.Image, placement: Placement) -> torch.Tensor:
    """Scale and cut a picture to its bucket.

    Args:
        picture: RGB.
        placement: the size to scale to and the bucket to cut out of it.

    Returns:
        float32 [3, height, width] in [-1, 1].
    """
    if picture.size != placement.resized:
        picture = picture.resize(placement.resized, Image.Resampling.LANCZOS)
    picture = picture.crop(placement.crop_box)
    flat = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    pixels = flat.view(picture.height, picture.width, 3).permute(2, 0, 1)
    return pixels.to(torch.float32).div_(127.5).sub_(1.0).contiguous()


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Pillow's warnings about size or metadata are no reason to stop; real damage raises.

    Entered in the main thread only: the list of filters is shared between threads.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _read(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be opened: {error.strerror}", where=str(path)) from error
    if not raw:
        raise DataError("the file is empty (0 bytes)", where=str(path), fix="replace or delete it")
    return raw


def _decode(path: Path, raw: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(raw)) as picture:
            picture.load()
            return _to_rgb(ImageOps.exif_transpose(picture) or picture)
    except BROKEN_PICTURE as error:
        reason = str(error).split(" <_io")[0]
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "not a picture, or damaged at its start"
        raise DataError(reason, where=str(path), fix="replace or delete this file") from error


def _to_rgb(picture: Image.Image) -> Image.Image:
    """RGB, with transparent parts on white as on a page."""
    if picture.mode in ("I;16", "I;16B", "I;16L", "I"):
        # Pillow clips 16-bit grey to white when it converts; scale it instead.
        picture = picture.point(lambda value: value * (1.0 / 257.0)).convert("L")
    if "A" in picture.getbands() or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        page = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(page, layer).convert("RGB")
    return picture.convert("RGB")
