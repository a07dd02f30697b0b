"""Blurred, plain, dark, light, grey and enlarged pictures are told, and usual ones are not."""

from __future__ import annotations

import random

import pytest
from PIL import Image, ImageDraw, ImageFilter

from lycoris_ext.data import DataConfig, examine
from lycoris_ext.data.measures import MEASURED, measure


def drawn(seed, size=(320, 256)):
    """Draw something with as much detail as a photograph: many small shapes."""
    rng = random.Random(seed)
    picture = Image.new("RGB", size, rng.choice(["navy", "olive", "tan", "teal", "gray"]))
    pen = ImageDraw.Draw(picture)
    for _ in range(400):
        x, y = (rng.randrange(side) for side in size)
        box = x, y, x + rng.randrange(1, 30), y + rng.randrange(1, 30)
        colour = tuple(rng.randrange(256) for _ in range(3))
        rng.choice([pen.ellipse, pen.rectangle, pen.line])(box, fill=colour)
    return picture


def enlarged(picture, times):
    small = picture.resize([side // times for side in picture.size], Image.Resampling.LANCZOS)
    return small.resize(picture.size, Image.Resampling.BICUBIC)


@pytest.fixture
def told(tmp_path):
    """Write 12 usual pictures and some others; return code -> details by name of what is told."""
    folder = tmp_path / "1_x"

    def examined(others=(), **options):
        folder.mkdir()
        for number, picture in enumerate([*map(drawn, range(12)), *others]):
            picture.save(folder / f"{number:02d}.png")
            (folder / f"{number:02d}.txt").write_text(f"picture {number}", encoding="utf-8")
        options = {"train_data_dir": str(tmp_path), "resolution": 256} | options
        found = examine(DataConfig(**options)).findings
        return {one.code: {path.stem: detail for path, detail in one.where} for one in found}

    return examined


def test_usual_pictures_are_not_told(told):
    night = drawn(50).point(lambda value: value * 0.6)
    sketch = Image.new("RGB", (320, 256), "white")
    pen = ImageDraw.Draw(sketch)
    for number in range(12):
        pen.ellipse((number * 20, 30, 320 - number * 9, 60 + number * 16), outline="darkred")
    pen.rectangle((40, 40, 140, 200), fill="salmon")
    bokeh = drawn(51).filter(ImageFilter.GaussianBlur(9))
    bokeh.paste(drawn(52).crop((0, 0, 120, 120)), (100, 70))
    icon = Image.new("RGB", (32, 32))
    light = Image.new("RGB", (128, 128))  # red has a third of the brightness of white
    ImageDraw.Draw(light).ellipse((40, 10, 90, 60), fill="red")
    assert told([night, sketch, bokeh, icon, light]).keys() == {"LX036", "LX040"}


@pytest.mark.parametrize(
    ("code", "picture"),
    [
        ("LX030", drawn(31).filter(ImageFilter.GaussianBlur(7))),
        ("LX031", Image.new("RGB", (320, 256), (200, 120, 40))),
        ("LX032", drawn(32).point(lambda value: value * 0.25)),
        ("LX033", drawn(33).point(lambda value: 241 + value // 18)),
        ("LX034", drawn(34).convert("L")),
        ("LX038", enlarged(drawn(35, (640, 512)), 4)),
    ],
)
def test_each_kind_of_odd_picture_is_told_by_its_own_code(told, code, picture):
    assert told([picture]).keys() == {code}


def test_the_detail_of_an_enlarged_picture_is_told(told):
    assert told([enlarged(drawn(35, (640, 512)), 4)])["LX038"] == {
        "12": "640x512 pixels with the detail of 160x128"
    }


def test_an_enlarged_picture_is_not_told_where_it_is_trained_small(told):
    assert told([enlarged(drawn(35, (640, 512)), 4)], resolution=128) == {}


def test_grey_pictures_are_not_told_where_many_are(told):
    assert told([drawn(number).convert("L") for number in range(20, 24)]) == {}


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (MEASURED - 1, 500)])
def test_small_pictures_are_not_measured(size):
    assert measure(Image.new("RGB", size)) is None


@pytest.mark.parametrize("size", [(64, 64), (64, 5000), (767, 1025), (3000, 301)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_pictures_of_any_shape_are_measured(size, mode):
    seen = measure(Image.new(mode, size, "red"))
    assert (seen.plain, seen.colour, seen.halvings) == (1.0, 255, 0)
    assert bytes.fromhex(seen.tones) == bytes((255, 0, 0)) * 64
