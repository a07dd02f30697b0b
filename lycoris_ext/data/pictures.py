"""Check picture files before training, open them, and turn them into cropped tensors."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import ExifTags, Image

from lycoris_ext.data.buckets import Crop, Resolution
from lycoris_ext.data.decode import BROKEN_PICTURE, REPLACE, Note, decode
from lycoris_ext.data.measures import Measures, Sample, measure_all, sample
from lycoris_ext.data.picture_header import FILES, SCALE_DOWN, open_image
from lycoris_ext.errors import DataError
from lycoris_ext.files import read_within, size_within
from lycoris_ext.os_errors import reason, remedy_for_reading

NOTES_VERSION = 1
"""Part of the key of checks that are kept. Raise it when sizes or notes are found differently."""


@dataclass(frozen=True)
class Checked:
    """Size, hash, notes and measures of a picture file that was decoded without fault."""

    size: tuple[int, int]
    """(width, height) in pixels, upright."""
    digest: str
    """BLAKE2b hash of the file's bytes; resuming compares it, and keys of caches contain it."""
    notes: tuple[Note, ...] = ()
    measures: Measures | None = None
    """What was measured of its pixels; None if nobody did."""


def open_picture(path: Path, *, alpha_mask: bool = False, digest: str | None = None) -> Image.Image:
    """Decode a picture file: upright by its EXIF orientation, in sRGB.

    Args:
        path: the file.
        alpha_mask: keep transparency (RGBA). If False, transparent parts become white (RGB).
        digest: the hash that check_picture returned, to notice a file that changed since; None: do
            not compare.

    Raises:
        DataError: the file is empty, damaged, no picture, too large, or has changed.
    """
    with _content(path) as raw, quiet_pillow():
        if digest is not None and digest != _digest(raw):
            raise DataError(
                "the file changed since the pictures were checked",
                where=str(path),
                fix="leave the pictures alone while a run starts, then run the same command again",
            )
        return decode(path, raw, alpha_mask=alpha_mask).picture


def check_picture(path: Path, *, alpha_mask: bool = False) -> Checked:
    """Decode a picture file to find out before training whether it is damaged.

    Several threads may call this at the same time, inside of one ``quiet_pillow``.

    Args:
        path: the file.
        alpha_mask: keep transparency, as for open_picture.

    Raises:
        DataError: the file is empty, damaged, no picture or too large.
    """
    (found,) = check_pictures([(path, alpha_mask)])
    if isinstance(found, DataError):
        raise found
    return found


def check_pictures(
    asked: Sequence[tuple[Path, bool]], known: Callable[[str, bool], Checked | None] | None = None
) -> list[Checked | DataError]:
    """Decode some picture files as `check_picture` does, and measure them together.

    Args:
        asked: each file, and whether to keep its transparency.
        known: returns what is known of a picture by the hash of its file and whether its
            transparency is kept; what it knows is not decoded.

    Returns:
        What was found in each file, or what is wrong with it.
    """
    found: list[Checked | DataError] = []
    decoded: list[tuple[int, Checked, Sample | None]] = []
    for number, (path, alpha_mask) in enumerate(asked):
        try:
            with _content(path) as raw:
                digest = _digest(raw)
                before = known(digest, alpha_mask) if known else None
                if before is None:
                    new = decode(path, raw, alpha_mask=alpha_mask)
                    before = Checked(new.picture.size, digest, new.notes)
                    decoded.append((number, before, sample(new.picture)))
            found.append(before)
        except DataError as error:
            found.append(error)
    measured = measure_all([taken for _, _, taken in decoded])
    for (number, checked, _), measures in zip(decoded, measured, strict=True):
        found[number] = replace(checked, measures=measures)
    return found


def check_mask(path: Path) -> Checked:
    """Decode a mask to find out before training whether it can be used; see data/masks.py.

    Raises:
        DataError: the file is empty, damaged, no picture, too large, or black all over.
    """
    with _content(path) as raw:
        red = decode(path, raw, alpha_mask=True).picture.getchannel("R")
        if red.getextrema()[1] == 0:
            raise DataError(
                "it is black all over, so that nothing of the picture would be trained",
                where=str(path),
                fix="make the mask white where the picture is to be trained, or leave the picture "
                "out",
            )
        return Checked(red.size, _digest(raw))


def digest_of(path: Path) -> str:
    """Return the hash of a picture file's bytes, as ``check_picture`` does, without decoding it.

    Raises:
        DataError: the file cannot be read, is empty or too large.
    """
    with _content(path) as raw:
        return _digest(raw)


def small_picture(path: Path, edge: int) -> Image.Image:
    """Decode a picture file as ``open_picture`` does, and shrink it.

    Several threads may call this at the same time, inside of one ``quiet_pillow``.

    Args:
        path: the file.
        edge: the most pixels of its longer side; a smaller picture stays as it is.

    Raises:
        DataError: the file is empty, damaged, no picture or too large.
    """
    with _content(path) as raw:
        picture = decode(path, raw, edge=edge).picture
    picture.thumbnail((edge, edge))
    return picture


def hashed_picture(path: Path, is_known: Callable[[str], bool]) -> tuple[str, Image.Image | None]:
    """Hash a picture file, and decode it as ``open_picture`` does unless its hash is known.

    Several threads may call this at the same time, inside of one ``quiet_pillow``.

    Args:
        path: the file.
        is_known: tells of a hash, as ``check_picture`` returns it, whether that is enough.

    Raises:
        DataError: the file is empty, damaged, no picture or too large.
    """
    with _content(path) as raw:
        digest = _digest(raw)
        return digest, None if is_known(digest) else decode(path, raw).picture


def cropped(picture: Image.Image, crop: Crop) -> torch.Tensor:
    """Scale and crop a picture to its bucket, and return its pixels.

    Args:
        picture: RGB (C = 3) or RGBA (C = 4).
        crop: the size to scale to, and the bucket to cut out of it.

    Returns:
        uint8 [C, height, width].
    """
    if picture.size != crop.resized:
        # Band by band: Pillow would blacken the colours beneath transparency.
        bands = [band.resize(crop.resized, Image.Resampling.LANCZOS) for band in picture.split()]
        picture = Image.merge(picture.mode, bands)
    picture = picture.crop(crop.crop_box)
    flat = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return flat.view(picture.height, picture.width, -1).permute(2, 0, 1)


def as_the_vae_sees(pixels: torch.Tensor) -> torch.Tensor:
    """Turn uint8 pixels [C, height, width] into float32 in [-1, 1], of the same shape."""
    return pixels.to(torch.float32).div_(127.5).sub_(1.0).contiguous()


def picture_to_tensor(picture: Image.Image, crop: Crop) -> torch.Tensor:
    """Scale and crop a picture to its bucket as ``cropped`` does, into float32 in [-1, 1]."""
    return as_the_vae_sees(cropped(picture, crop))


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Ignore Pillow's warnings inside the ``with``: they are about size or metadata, not damage.

    Enter it in the main thread only, because all threads share the list of warning filters.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _content(path: Path) -> Iterator[bytes]:
    """Hold the bytes of a picture file inside the ``with``, as soon as there is memory for them."""
    with ExitStack() as held:
        try:
            held.enter_context(FILES.share(size_within(path, FILES.total)))
            raw = read_within(path, FILES.total)
        except OSError as error:
            raise DataError(
                f"the file cannot be opened ({reason(error)})",
                where=str(path),
                fix=remedy_for_reading(error),
            ) from error
        except MemoryError as error:
            raise DataError(
                "too large: it does not fit into the memory", where=str(path), fix=SCALE_DOWN
            ) from error
        if not raw:
            raise DataError("the file is empty (0 bytes)", where=str(path), fix=REPLACE)
        yield raw


def _digest(raw: bytes) -> str:
    return hashlib.blake2b(raw, digest_size=16).hexdigest()


def upright_size(path: Path) -> Resolution:
    """Return the (width, height) of a picture in pixels, upright, from the header of its file.

    Raises:
        DataError: the file cannot be read, or is no picture.
    """
    try:
        with open_image(path) as picture:
            width, height = picture.size
            # Of a PNG, getexif would decode all of it where the EXIF stands behind the pixels.
            exif = picture.getexif() if "exif" in picture.info else {}
            lying = exif.get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    except BROKEN_PICTURE as error:
        raise DataError("its header cannot be read", where=str(path), fix=REPLACE) from error
    return (height, width) if lying else (width, height)
