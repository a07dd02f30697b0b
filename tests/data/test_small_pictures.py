"""Small copies of pictures look like the pictures, and a JPEG's cost a fraction of its decoding."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from lycoris_ext.data import open_picture
from lycoris_ext.data.decode import decode
from lycoris_ext.data.pictures import small_picture
from lycoris_ext.errors import DataError


def gradient(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """A picture with no detail that scaling could lose."""
    ramps = [Image.linear_gradient("L").rotate(turn).resize(size) for turn in (0, 90, 180)]
    return Image.merge("RGB", ramps).convert(mode)


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.jpg", "RGB"), ("a.jpg", "L"), ("a.jpg", "CMYK"), ("a.png", "RGBA"), ("a.webp", "RGB")],
)
def test_a_small_picture_is_the_picture_shrunk(tmp_path: Path, name: str, mode: str) -> None:
    path = tmp_path / name
    gradient((640, 400), mode).save(path, quality=95)
    small = small_picture(path, 160)
    assert small.mode == "RGB" and small.size == (160, 100)
    whole = open_picture(path).resize(small.size, Image.Resampling.BOX)
    assert max(ImageStat.Stat(ImageChops.difference(small, whole)).mean) < 2


def test_a_lying_picture_becomes_upright_and_a_small_one_keeps_its_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    gradient((640, 400)).save(tmp_path / "lying.jpg", exif=exif)
    assert small_picture(tmp_path / "lying.jpg", 160).size == (100, 160)
    gradient((40, 20)).save(tmp_path / "tiny.jpg")
    assert small_picture(tmp_path / "tiny.jpg", 160).size == (40, 20)
    gradient((900, 1)).save(tmp_path / "line.jpg")
    assert small_picture(tmp_path / "line.jpg", 160).size == (160, 1)


def test_a_jpeg_is_decoded_no_larger_than_needed(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    gradient((1600, 800)).save(path)
    raw = path.read_bytes()
    assert decode(path, raw, edge=320).picture.size == (400, 200)
    assert decode(path, raw, edge=401).picture.size == (800, 400)
    assert decode(path, raw).picture.size == (1600, 800)


def test_a_damaged_picture_has_no_small_copy(tmp_path: Path) -> None:
    gradient((640, 400)).save(tmp_path / "a.jpg")
    raw = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(DataError, match="truncated"):
        small_picture(tmp_path / "a.jpg", 160)
