"""Pictures whose size or shape costs something are told, and others are not."""

from __future__ import annotations

import pytest

from lycoris_ext.data import DataConfig, examine
from lycoris_ext.data.buckets import Crop
from tests.tiny_pictures import write_picture


@pytest.fixture
def told(tmp_path):
    """Write a picture of each size; return code -> details by name of what is told."""

    def examined(*sizes, **options):
        for number, size in enumerate(sizes):
            write_picture(tmp_path / f"{number:02d}.png", number, size)
            (tmp_path / f"{number:02d}.txt").write_text("x", encoding="utf-8")
        usual = {"resolution": 256, "min_bucket_reso": 64, "bucket_reso_steps": 32}
        config = DataConfig(image_dir=str(tmp_path), **usual | options)
        found = {one.code: one for one in examine(config).findings}
        return {
            code: {path.stem: detail for path, detail in one.where}
            for code, one in found.items()
            if code in ("LX035", "LX036", "LX039", "LX040")
        }

    return examined


def test_pictures_of_usual_shapes_are_not_told(told):
    assert told((256, 256), (384, 256), (480, 270), (256, 480), (320, 240)) == {}


def test_narrow_pictures_are_told(told):
    assert told((256, 256), (200, 600), (200, 601), (1600, 320))["LX035"] == {
        "02": "200x601 pixels",
        "03": "1600x320 pixels",
    }


def test_what_a_crop_cuts_off_is_told_from_40_percent_on(told):
    sizes = (48, 32), (48, 27), (32, 32)
    assert told(*sizes, enable_bucket=False, resolution=16) == {
        "LX039": {"01": "43% of 48x27 pixels"}
    }
    assert Crop((48, 32), (32, 32), (48, 32)).lost == pytest.approx(1 / 3)


def test_pictures_that_are_enlarged_are_told(told):
    told_of = told((206, 206), (200, 200), (256, 256))
    assert told_of == {"LX040": {"01": "200x200 pixels to 256x256"}}


def test_a_size_far_from_all_others_is_told(told):
    usual = [(300 + number, 300) for number in range(11)]
    assert told(*usual, (1600, 1200)) == {"LX036": {"11": "1600x1200 pixels"}}


def test_sizes_of_all_kinds_are_not_odd(told):
    sizes = [(256 + 64 * number, 256 + 64 * number) for number in range(12)]
    assert told(*sizes) == {}
