"""Opening pictures: damaged ones are named before anything else happens."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from PIL import Image

from lycoris_ext.data import (
    DataConfig,
    check_picture,
    choose_crop,
    open_picture,
    open_training_set,
    picture_to_tensor,
)
from lycoris_ext.errors import DataError
from tests.tiny_pictures import write_picture


def test_all_damaged_pictures_are_named_at_once(pictures):
    folder = pictures / "2_shapes"
    whole = (folder / "01.png").read_bytes()
    (folder / "01.png").write_bytes(whole[: len(whole) // 2])
    (folder / "03.png").write_bytes(b"")
    (folder / "04.png").write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match="3 of 6 pictures cannot be used") as caught:
        open_training_set(DataConfig(train_data_dir=str(pictures), resolution=32), seed=0)
    text = str(caught.value)
    assert "01.png" in text and "03.png: the file is empty (0 bytes)" in text
    assert "04.png: not a picture" in text
    assert "00.png" not in text
    assert "replace or delete" in text


@pytest.mark.parametrize("keep", [20, 60, 100])
def test_a_truncated_jpeg_is_refused_by_name(tmp_path, keep):
    path = tmp_path / "a.jpg"
    write_picture(path, size=(64, 64))
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) * keep // 110])
    with pytest.raises(DataError, match=r"a\.jpg"):
        open_picture(path)


def test_the_size_is_that_of_the_picture_turned_upright(tmp_path):
    picture = Image.new("RGB", (40, 20), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert check_picture(tmp_path / "a.jpg").size == (20, 40)
    assert open_picture(tmp_path / "a.jpg").size == (20, 40)


def test_transparency_becomes_white(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "a.png")
    picture = open_picture(tmp_path / "a.png")
    assert picture.mode == "RGB"
    assert picture.getpixel((0, 0)) == (255, 255, 255)


def test_palette_with_transparency_becomes_white(tmp_path):
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.save(tmp_path / "a.png", transparency=1)
    assert open_picture(tmp_path / "a.png").getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("mode", "value", "grey"), [("L", 100, 100), ("1", 1, 255), ("I;16", 25700, 100)]
)
def test_grey_becomes_rgb(tmp_path, mode, value, grey):
    Image.new(mode, (4, 4), value).save(tmp_path / "a.png")
    assert open_picture(tmp_path / "a.png").getpixel((1, 1)) == (grey, grey, grey)


def test_a_cmyk_jpeg_becomes_rgb(tmp_path):
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.jpg")
    assert open_picture(tmp_path / "a.jpg").getpixel((1, 1)) == (255, 255, 255)


def test_a_picture_is_cut_at_its_centre():
    picture = Image.new("RGB", (48, 16), "black")
    picture.paste((255, 255, 255), (16, 0, 32, 16))
    config = DataConfig(resolution=16, enable_bucket=False)
    pixels = picture_to_tensor(picture, choose_crop(picture.size, config))
    assert pixels.shape == (3, 16, 16)
    assert pixels.dtype == torch.float32
    assert bool((pixels == 1.0).all())


def test_progress_counts_every_picture(pictures):
    seen = []

    @contextmanager
    def bar(total):
        assert total == 6
        yield seen.append

    open_training_set(DataConfig(train_data_dir=str(pictures), resolution=32), 0, bar)
    assert sum(seen) == 6


def test_fingerprint_follows_content_captions_and_repeats(pictures):
    config = DataConfig(train_data_dir=str(pictures), resolution=32)

    def fingerprint():
        return open_training_set(config, 0).fingerprint

    first = fingerprint()
    assert fingerprint() == first
    (pictures / "2_shapes" / "01.txt").write_text("other", encoding="utf-8")
    second = fingerprint()
    write_picture(pictures / "2_shapes" / "01.png", number=99)
    third = fingerprint()
    (pictures / "2_shapes").rename(pictures / "3_shapes")
    assert len({first, second, third, fingerprint()}) == 4
