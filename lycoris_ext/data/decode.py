"""Decode the bytes of a picture file into an upright sRGB picture, whatever its format."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import ExifTags, Image, ImageChops, ImageCms, ImageOps, ImageStat

from lycoris_ext.data.picture_header import (
    DECODING,
    SCALE_DOWN,
    Header,
    open_image,
    read_header,
    why_not_opened,
)
from lycoris_ext.errors import DataError

BROKEN_PICTURE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow's decoders raise on damaged files."""
_TOO_LARGE = (Image.DecompressionBombError, MemoryError)
REPLACE = "replace or delete the file"

Note = Literal["animated", "profile", "transparent", "cmyk", "turned"]
"""Something notable about a picture that can be used: only its first frame is ("animated"), its
colour profile cannot be applied ("profile"), its transparent parts became white ("transparent"), it
has the colours of a printer and no profile of them ("cmyk"), it was turned upright ("turned")."""

# Even a conversion from sRGB to sRGB may change a number by this much, because lcms rounds.
_SAME = 2
_RAMP = Image.linear_gradient("L")


@dataclass(frozen=True)
class Decoded:
    """A decoded picture.

    Args:
        picture: RGB, or RGBA if its transparency was to be kept.
        notes: what is notable about it.
    """

    picture: Image.Image
    notes: tuple[Note, ...] = ()


def decode(path: Path, raw: bytes, *, alpha_mask: bool = False, edge: int | None = None) -> Decoded:
    """Decode a picture: its first frame, turned upright by its EXIF orientation, in sRGB.

    Args:
        path: the file, for messages.
        raw: its bytes; they tell the format, whatever the name of the file is.
        alpha_mask: keep transparency and the colours beneath it (RGBA). If False, transparent parts
            become white (RGB).
        edge: a longer side of this many pixels is enough: a JPEG is then decoded at a half, a
            quarter or an eighth of its size, in a fraction of the time. None: at its full size.

    Raises:
        DataError: the file is damaged, no picture, or too large; or alpha_mask is set and every
            pixel is transparent.
    """
    try:
        header = read_header(raw, str(path))
        with DECODING.share(header.memory):
            return _decode(path, raw, header, alpha_mask, edge)
    except BROKEN_PICTURE as error:
        fix = SCALE_DOWN if isinstance(error, _TOO_LARGE) else REPLACE
        raise DataError(_reason(error, raw), where=str(path), fix=fix) from error


def _decode(path: Path, raw: bytes, header: Header, alpha_mask: bool, edge: int | None) -> Decoded:
    notes: list[Note] = []
    # A phone's JPEG holds a depth map or a smaller copy beside the picture (MPO).
    if header.frames > 1 and header.format != "MPO":
        notes.append("animated")
    # What is no longer needed is freed at once: each of these pictures may take gigabytes.
    picture, turned = _first_frame(raw, edge)
    if turned:
        notes.append("turned")
    profile = picture.info.get("icc_profile")
    if picture.mode == "CMYK" and not profile:
        notes.append("cmyk")
    colour, alpha = _split_alpha(_to_8_bit(picture))
    del picture
    colour, usable = _to_srgb(colour, profile)
    if not usable:
        notes.append("profile")
    if alpha_mask:
        return Decoded(_with_alpha(path, colour, alpha), tuple(notes))
    if alpha is None or alpha.getextrema()[0] == 255:
        return Decoded(colour, tuple(notes))
    page = Image.new("RGB", colour.size, "white")
    page.paste(colour, mask=alpha)
    return Decoded(page, (*notes, "transparent"))


def _first_frame(raw: bytes, edge: int | None) -> tuple[Image.Image, bool]:
    """Return the first frame, upright, and whether it had to be turned."""
    with open_image(raw) as picture:
        if edge is not None:
            scale = edge / max(picture.size)
            picture.draft(None, tuple(max(1, int(side * scale)) for side in picture.size))
        picture.load()
        turned = picture.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
        if picture.format == "JPEG" and not turned:
            return picture, False
        # A copy, so that the memory of other decoders is freed.
        return ImageOps.exif_transpose(picture) or picture.copy(), turned


def _to_8_bit(picture: Image.Image) -> Image.Image:
    """Scale a 16-bit grey picture to 8 bits; Pillow's own conversion would clip it to white."""
    if picture.mode not in ("I;16", "I;16B", "I;16L", "I"):
        return picture
    scaled = picture.convert("I").point(lambda value: value * (1.0 / 257.0) + 0.5).convert("L")
    transparent = picture.info.get("transparency")
    if transparent is None:
        return scaled
    # A PNG may declare one 16-bit grey transparent: make that an alpha channel.
    alpha = picture.convert("I").point(lambda value: value * 1.0 - float(transparent))
    opaque = ImageChops.lighter(
        alpha.convert("L"), alpha.point(lambda value: value * -1.0).convert("L")
    ).point(lambda distance: 255 if distance else 0)
    return Image.merge("LA", (scaled, opaque))


def _split_alpha(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Split a picture into colours (mode L, RGB or CMYK) and opacity (L; None if it has none)."""
    if "A" in picture.getbands() or "transparency" in picture.info:
        grey = picture.mode in ("LA", "La")
        layered = _in_mode(picture, "LA" if grey else "RGBA")
        return layered.convert("L" if grey else "RGB"), layered.getchannel("A")
    if picture.mode in ("L", "RGB", "CMYK"):
        return picture, None
    return picture.convert("L" if picture.mode == "1" else "RGB"), None


def _to_srgb(colour: Image.Image, profile: bytes | None) -> tuple[Image.Image, bool]:
    """Convert to sRGB; also return False if there is a colour profile that cannot be used."""
    if not profile:
        return _in_mode(colour, "RGB"), True
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            colour.mode,
            "RGB",
        )
        if colour.mode != "CMYK" and _changes_nothing(transform, colour.mode):
            return _in_mode(colour, "RGB"), True
        return ImageCms.applyTransform(colour, transform) or colour, True
    except (ImageCms.PyCMSError, OSError):
        return _in_mode(colour, "RGB"), False


def _in_mode(picture: Image.Image, mode: str) -> Image.Image:
    """Convert a picture, which Pillow would copy if it has the mode already."""
    return picture if picture.mode == mode else picture.convert(mode)


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Tell whether a profile is sRGB by applying it to grey ramps, because its name may lie."""
    ramps = (_RAMP, _RAMP.rotate(90), _RAMP.rotate(180))
    probe = _RAMP if mode == "L" else Image.merge("RGB", ramps)
    changed = ImageCms.applyTransform(probe, transform)
    if changed is None:
        return True
    difference = ImageStat.Stat(ImageChops.difference(changed, probe.convert("RGB")))
    return max(high for _, high in difference.extrema) <= _SAME


def _with_alpha(path: Path, rgb: Image.Image, alpha: Image.Image | None) -> Image.Image:
    if alpha is not None and alpha.getextrema()[1] == 0:
        raise DataError(
            "every part of it is transparent, and alpha_mask trains the opaque parts alone",
            where=str(path),
            fix=f"{REPLACE}, or set alpha_mask = false",
        )
    result = rgb.copy()
    result.putalpha(alpha if alpha is not None else 255)
    return result


def _reason(error: Exception, raw: bytes) -> str:
    """Say in the user's words why a file could not be decoded."""
    if isinstance(error, Image.DecompressionBombError):
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        return f"too large: pictures of up to {most:,} pixels (width times height) are read"
    if isinstance(error, MemoryError):
        return "too large: it does not fit into the memory"
    if isinstance(error, Image.UnidentifiedImageError):
        return why_not_opened(raw)
    return str(error).split(" <_io")[0] or f"damaged ({type(error).__name__})"
