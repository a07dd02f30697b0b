"""Aspect buckets are those of sd-scripts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext.data import DataConfig, bucket_resolutions, choose_crop
from lycoris_ext.errors import ConfigError

SIDES = st.integers(16, 4000)
ORACLE = json.loads(
    (Path(__file__).parents[1] / "oracles" / "sd_scripts_data.json").read_text("utf-8")
)


def test_the_bucket_list_at_512_is_that_of_sd_scripts():
    half = [(256, 832), (256, 896), (256, 960), (256, 1024), (320, 704), (320, 768), (384, 640)]
    half.append((448, 576))
    expected = (*half, (512, 512), *sorted((height, width) for width, height in half))
    assert bucket_resolutions((512, 512), 256, 1024, 64) == expected


@pytest.mark.parametrize("case", ORACLE["bucket_lists"])
def test_bucket_lists_are_those_of_sd_scripts(case):
    buckets = bucket_resolutions(tuple(case["size"]), *case["limits"])
    assert [list(bucket) for bucket in buckets] == case["buckets"]


@pytest.mark.parametrize("number", range(len(ORACLE["settings"])))
def test_bucket_and_resized_size_of_a_picture_are_those_of_sd_scripts(number):
    """The oracle holds what sd-scripts' BucketManager answered for these sizes and options."""
    options = dict(ORACLE["settings"][number])
    pictures = options.pop("pictures")
    config = DataConfig(**options)
    assert pictures
    for width, height, *expected in pictures:
        crop = choose_crop((width, height), config)
        assert [*crop.bucket, *crop.resized] == expected, (width, height)


def test_the_oracle_holds_many_pictures_with_and_without_enlarging():
    assert sum(len(case["pictures"]) for case in ORACLE["settings"]) > 500
    assert {case["bucket_no_upscale"] for case in ORACLE["settings"]} == {True, False}


@given(SIDES, SIDES, st.sampled_from([512, 768, "512,768", 1024]))
def test_the_bucket_of_a_picture_has_the_nearest_aspect_ratio(width, height, resolution):
    config = DataConfig(resolution=resolution)
    bucket = choose_crop((width, height), config).bucket
    ratio = width / height
    known = bucket_resolutions(config.size, *config.bucket_limits)
    if (width, height) not in known:
        best = min(abs(w / h - ratio) for w, h in known)
        assert abs(bucket[0] / bucket[1] - ratio) == best


@given(SIDES, SIDES)
def test_a_turned_picture_gets_the_turned_bucket_with_bucket_no_upscale(width, height):
    config = DataConfig(bucket_no_upscale=True)
    bucket, turned = (
        choose_crop(size, config).bucket for size in ((width, height), (height, width))
    )
    area = [w * h for w, h in (bucket, turned)]
    assert max(area) <= 512 * 512
    if width * height <= 512 * 512:
        assert bucket == turned[::-1]


@pytest.mark.parametrize(
    ("picture", "bucket", "resized"),
    [
        ((512, 512), (512, 512), (512, 512)),
        ((1000, 1000), (512, 512), (512, 512)),
        ((1920, 1080), (640, 384), (683, 384)),
        ((1000, 1500), (384, 640), (427, 640)),
        ((640, 384), (640, 384), (640, 384)),
        ((100, 100), (512, 512), (512, 512)),
    ],
)
def test_a_picture_is_resized_to_cover_the_bucket_of_the_nearest_ratio(picture, bucket, resized):
    crop = choose_crop(picture, DataConfig())
    assert (crop.bucket, crop.resized) == (bucket, resized)


@pytest.mark.parametrize(
    ("picture", "bucket", "resized"),
    [
        ((300, 200), (256, 192), (300, 200)),
        ((2000, 1000), (640, 320), (640, 320)),
        ((512, 512), (512, 512), (512, 512)),
    ],
)
def test_bucket_no_upscale_never_enlarges_a_picture(picture, bucket, resized):
    crop = choose_crop(picture, DataConfig(bucket_no_upscale=True))
    assert (crop.bucket, crop.resized) == (bucket, resized)


@given(SIDES, SIDES, st.sampled_from([64, 256, 512, "512,768", 1024]), st.booleans(), st.booleans())
def test_the_crop_lies_inside_the_picture_and_the_bucket_is_a_multiple_of_its_step(
    width, height, resolution, buckets, small
):
    config = DataConfig(resolution=resolution, enable_bucket=buckets, bucket_no_upscale=small)
    crop = choose_crop((width, height), config)
    left, top, right, bottom = crop.crop_box
    assert left >= 0 and top >= 0
    assert right <= crop.resized[0] and bottom <= crop.resized[1]
    assert (right - left, bottom - top) == crop.bucket
    if buckets:
        step = config.bucket_limits[2]
        assert crop.bucket[0] % step == 0 and crop.bucket[1] % step == 0
        area = config.size[0] * config.size[1]
        assert crop.bucket[0] * crop.bucket[1] <= max(area, step * step)


@pytest.mark.parametrize(
    ("resolution", "limits"),
    [(512, (256, 1024, 64)), (64, (32, 128, 16)), (1536, (256, 3072, 64)), (32, (16, 64, 16))],
)
def test_unset_bucket_limits_follow_the_resolution(resolution, limits):
    assert DataConfig(resolution=resolution).bucket_limits == limits


def test_bucket_limits_are_widened_to_multiples_of_the_step():
    config = DataConfig(min_bucket_reso=300, max_bucket_reso=1000, bucket_reso_steps=64)
    assert config.bucket_limits == (256, 1024, 64)
    assert DataConfig(min_bucket_reso=16).bucket_limits[0] == 64


def test_bucket_limits_that_exclude_the_resolution_are_refused():
    with pytest.raises(ConfigError, match="min_bucket_reso 768 is above the resolution 512"):
        DataConfig(resolution=512, min_bucket_reso=768)
    with pytest.raises(ConfigError, match="max_bucket_reso 448 is below the resolution 512"):
        DataConfig(resolution=512, max_bucket_reso=448)
    assert DataConfig(min_bucket_reso=768, max_bucket_reso=2048)  # the base may be of 1024


@pytest.mark.parametrize("resolution", ["", "512x512", "1,2,3", "-1", 0])
def test_a_resolution_that_is_neither_one_number_nor_two_is_refused(resolution):
    with pytest.raises(ConfigError, match="neither one number nor two"):
        DataConfig(resolution=resolution)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train_batch_size", 0),
        ("num_repeats", 0),
        ("keep_tokens", -1),
        ("caption_dropout_rate", 1.5),
        ("caption_tag_dropout_rate", -0.1),
        ("caption_extension", "txt"),
        ("caption_separator", ""),
        ("bucket_reso_steps", 0),
        ("max_data_loader_n_workers", -1),
    ],
)
def test_dataset_options_out_of_range_are_refused_by_name_and_value(name, value):
    with pytest.raises(ConfigError) as caught:
        DataConfig(**{name: value})
    assert name in str(caught.value) and repr(value) in str(caught.value)


@pytest.mark.parametrize("flipped", [False, True])
def test_size_ids_hold_the_original_size_and_the_corner_of_the_crop(flipped):
    config = DataConfig(resolution="32", enable_bucket=False)
    crop = choose_crop((101, 40), config)
    height, width, top, left, *cut = crop.size_ids(flipped)
    assert (width, height) == (101, 40)
    assert cut == [32, 32]
    # The mirrored picture's left is the other one's right.
    picture = torch.arange(crop.resized[0])
    shown = picture[crop.crop_box[0] : crop.crop_box[2]]
    whole = picture.flip(0) if flipped else picture
    assert torch.equal(whole[left : left + 32], shown.flip(0) if flipped else shown)
    assert top == crop.crop_box[1]
