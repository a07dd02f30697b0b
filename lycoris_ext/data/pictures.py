"""Open pictures, check every one before anything is trained, and cut them to their bucket."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from lycoris_ext.data.buckets import Placement
from lycoris_ext.data.decode import decode
from lycoris_ext.data.folders import LISTED
from lycoris_ext.errors import DataError


@dataclass(frozen=True)
class Checked:
    """What is known of a picture file after it was read once."""

    size: tuple[int, int]
    """(width, height) in pixels, upright."""
    digest: str
    """BLAKE2b of the file's bytes: what resuming compares and caches are found by."""
    notes: tuple[str, ...] = ()
    """Keys of decode.NOTES."""


def open_picture(path: Path, *, alpha_mask: bool = False, digest: str | None = None) -> Image.Image:
    """Decode a picture: upright by its EXIF orientation, in sRGB.

    Args:
        path: the file.
        alpha_mask: keep its transparency (RGBA); without, transparent parts become white (RGB).
        digest: what check_pictures found; unset: the file may be any.

    Raises:
        DataError: the file is empty, damaged, no picture, or not the one that was checked.
    """
    raw = _read(path)
    if digest is not None and digest != _digest(raw):
        raise DataError(
            "the file changed since the pictures were checked",
            where=str(path),
            fix="leave the pictures alone while a run starts, then run the same command again",
        )
    with _quiet_pillow():
        return decode(path, raw, alpha_mask=alpha_mask).picture


def check_pictures(
    paths: Sequence[Path],
    progress: Callable[[int], object] | None = None,
    *,
    alpha_mask: bool = False,
) -> list[Checked]:
    """Decode every picture once, in threads, and name ALL the damaged ones in one error.

    Args:
        paths: picture files.
        progress: called with the number of pictures done since the last call.
        alpha_mask: as for open_picture.

    Returns:
        Size and digest of each picture, in order.

    Raises:
        DataError: some files are damaged.
    """

    def check(path: Path) -> Checked | str:
        try:
            raw = _read(path)
            decoded = decode(path, raw, alpha_mask=alpha_mask)
        except DataError as error:
            return f"{path}: {error.what}"
        return Checked(decoded.picture.size, _digest(raw), decoded.notes)

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
        picture: RGB or RGBA; C bands.
        placement: the size to scale to and the bucket to cut out of it.

    Returns:
        float32 [C, height, width] in [-1, 1].
    """
    if picture.size != placement.resized:
        # Band by band: Pillow would blacken the colours beneath transparency.
        bands = [
            band.resize(placement.resized, Image.Resampling.LANCZOS) for band in picture.split()
        ]
        picture = Image.merge(picture.mode, bands)
    picture = picture.crop(placement.crop_box)
    flat = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    pixels = flat.view(picture.height, picture.width, -1).permute(2, 0, 1)
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


def _digest(raw: bytes) -> str:
    return hashlib.blake2b(raw, digest_size=16).hexdigest()
