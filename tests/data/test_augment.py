"""Crops and colours that are drawn anew: within their limits, and the same after a resume."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lycoris_ext.data import (
    DataConfig,
    DiskStore,
    cache_latents,
    examine,
    iterate_batches,
    open_training_set,
    summarize,
)
from lycoris_ext.data.augment import usual_crop
from lycoris_ext.data.buckets import Crop
from lycoris_ext.data.colour import draw_colours, raise_to_power, shift_hue
from lycoris_ext.data.faces import Face, crop_to_face, face_of
from lycoris_ext.data.subset import Subset
from lycoris_ext.errors import ConfigError, DataError
from tests.tiny_pictures import write_pictures

DRAWN = {"random_crop": True, "color_aug": True}


def encode(pixels):
    return pixels, torch.zeros_like(pixels)


def ramp(path: Path, size: tuple[int, int] = (96, 32)) -> None:
    """Write a picture whose red tells the column, and whose green tells the row."""
    picture = Image.new("RGB", size)
    picture.putdata([(2 * x, 2 * y, 0) for y in range(size[1]) for x in range(size[0])])
    picture.save(path)
    path.with_suffix(".txt").write_text("x", encoding="utf-8")


def training_set(folder: Path, **options):
    known = {"image_dir": str(folder), "resolution": 32, "enable_bucket": False}
    return open_training_set(DataConfig(**known | options), seed=3)


def shown(data, batches: int) -> list[torch.Tensor]:
    """Return the first pixels that the VAE gets in each of some batches."""
    cache = cache_latents(data, encode)
    return [cache.batch(data.batch_at(number), seed=3).latents[0] for number in range(batches)]


def columns(pixels: torch.Tensor) -> tuple[int, int]:
    """Return the first and last column of the ramp that a crop of it shows."""
    reds = ((pixels[0, 0] + 1) * 127.5 / 2).round().int()
    return int(reds[0]), int(reds[-1])


def test_random_crops_lie_anywhere_in_the_picture_and_keep_its_size(tmp_path):
    ramp(tmp_path / "a.png")
    starts = Counter()
    for pixels in shown(training_set(tmp_path, random_crop=True), 400):
        first, last = columns(pixels)
        assert last - first == 31
        starts[first] += 1
    assert min(starts) == 0 and max(starts) == 64 and len(starts) > 50


def test_repeats_and_epochs_of_a_picture_are_drawn_each_for_itself(tmp_path):
    ramp(tmp_path / "a.png")
    data = training_set(tmp_path, num_repeats=8, random_crop=True, color_aug=True)
    plans = [data.batch_at(number) for number in range(16)]
    assert len({plan.size_ids for plan in plans}) > 10
    plain = training_set(tmp_path, num_repeats=40, color_aug=True)
    assert len({pixels.numpy().tobytes() for pixels in shown(plain, 40)}) > 5


def test_the_size_conditioning_tells_where_the_crop_lies(tmp_path):
    ramp(tmp_path / "a.png")
    data = training_set(tmp_path, random_crop=True, flip_aug=True)
    cache = cache_latents(data, encode)
    for number in range(30):
        plan = data.batch_at(number)
        height, width, top, left, *bucket = plan.size_ids[0]
        reds = columns(cache.batch(plan, seed=3).latents[0])
        assert left == (95 - max(reds) if plan.flipped[0] else min(reds))
        assert (height, width, top, *bucket) == (32, 96, 0, 32, 32)


def test_in_a_bucket_a_picture_is_scaled_before_it_is_cut_at_random(tmp_path):
    ramp(tmp_path / "a.png", size=(200, 64))
    data = training_set(tmp_path, random_crop=True, enable_bucket=True)
    (crop,) = data.crops
    assert crop == usual_crop((200, 64), Subset(image_dir="x", resolution=32))
    offsets = {data.crop_at(0, epoch, 0).offset for epoch in range(300)}
    spare = [a - b for a, b in zip(crop.resized, crop.bucket, strict=True)]
    assert {left for left, _ in offsets} == set(range(spare[0] + 1))
    assert {top for _, top in offsets} == set(range(spare[1] + 1))


@pytest.mark.filterwarnings("ignore:This DataLoader will create 1 worker:UserWarning")
def test_batches_are_the_same_whoever_draws_them_and_wherever_one_starts(tmp_path):
    write_pictures(tmp_path, count=3, size=(48, 40))
    options = {**DRAWN, "flip_aug": True, "train_batch_size": 2}
    folder = tmp_path / "2_shapes"
    data = training_set(folder, **options)
    cache = cache_latents(data, encode)
    expected = [cache.batch(data.batch_at(number), seed=3).latents for number in range(9)]
    for workers in (0, 1):
        again = training_set(folder, **options, max_data_loader_n_workers=workers)
        new = cache_latents(again, encode)
        plans = list(iterate_batches(again, 4, 9))
        assert all(pixels.dtype == torch.uint8 for plan in plans for pixels in plan.pixels)
        for plan, latents in zip(plans, expected[4:], strict=True):
            assert torch.equal(new.batch(plan, seed=3).latents, latents)
    assert not torch.equal(expected[0], expected[3])


def test_only_subsets_that_ask_for_it_are_drawn_anew_and_the_others_stay_cached(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for number in range(2):
        ramp(tmp_path / "a" / f"{number}.png", size=(90 + number, 32))
        ramp(tmp_path / "b" / f"{number}.png")
    tables = [
        {"image_dir": str(tmp_path / "a"), "flip_aug": True},
        {"image_dir": str(tmp_path / "b"), "color_aug": True},
    ]
    data = training_set(tmp_path, image_dir="", subsets=tables)
    cache = cache_latents(data, encode, store=DiskStore(tmp_path / "cache"), vae="v")
    assert data.drawn_anew == (False, False, True, True)
    assert (cache.encoded, len(list((tmp_path / "cache").iterdir())), len(cache.levels)) == (
        4,
        4,
        2,
    )
    for number in range(8):
        cache.batch(data.batch_at(number), seed=3)
    assert cache.encoded == 4
    assert "2 pictures are drawn anew each time" in "\n".join(summarize(data))


def test_a_mask_is_cropped_with_its_picture(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "masks").mkdir()
    ramp(tmp_path / "pictures" / "a.png")
    Image.open(tmp_path / "pictures" / "a.png").save(tmp_path / "masks" / "a.png")
    masks = {"masked_loss": True, "conditioning_data_dir": str(tmp_path / "masks")}
    data = training_set(tmp_path / "pictures", random_crop=True, flip_aug=True, **masks)
    cache = cache_latents(data, encode)
    for number in range(10):
        batch = cache.batch(data.batch_at(number), seed=3)
        torch.testing.assert_close(batch.mask[0, 0], (batch.latents[0, 0] + 1) / 2)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 1 worker:UserWarning")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_is_gone_in_the_midst_of_a_run_is_named(tmp_path, workers):
    ramp(tmp_path / "a.png")
    data = training_set(tmp_path, **DRAWN, max_data_loader_n_workers=workers)
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError) as told:
        list(iterate_batches(data, 0, 1))
    assert told.value.where == str(tmp_path / "a.png") and "Traceback" not in str(told.value)


def test_pictures_that_are_held_out_stay_as_they_are(tmp_path):
    for number in range(4):
        ramp(tmp_path / f"{number}.png", size=(90 + number, 32))
    data = training_set(tmp_path, **DRAWN, validation_split=0.5)
    held_out = data.held_out_set()
    assert data.drawn_anew == (True, True)
    assert held_out is not None and held_out.drawn_anew == (False, False)


def test_a_third_of_the_pictures_changes_its_colours():
    pixels = torch.randint(256, (3, 8, 8), dtype=torch.uint8)
    changed = sum(
        not torch.equal(draw_colours(pixels, random.Random(seed)), pixels) for seed in range(600)
    )
    assert 0.27 < changed / 600 < 0.39


@given(st.integers(0, 2**32 - 1), st.floats(-8, 8))
def test_a_shift_of_hue_keeps_brightness_and_moves_no_channel_far(seed, shift):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (3, 4, 4), dtype=torch.uint8, generator=generator)
    turned = shift_hue(pixels, shift)
    assert torch.equal(turned.amax(dim=0), pixels.amax(dim=0))
    # Eight steps of two degrees are 16 of 60 degrees; hues are rounded to a step beforehand.
    moved = (turned.int() - pixels.int()).abs().amax(dim=0)
    spread = pixels.amax(dim=0).int() - pixels.amin(dim=0).int()
    assert bool((moved <= spread * (abs(shift) + 2) / 30 + 3).all())


def test_hues_turn_by_the_shift():
    red = torch.tensor([200, 0, 0], dtype=torch.uint8).view(3, 1, 1)
    # sd-scripts takes red for blue: its hue of 120 steps turns to 127, towards the colour between
    # its blue and its red, which is purple.
    assert shift_hue(red, 7.0).flatten().tolist() == [200, 0, 47]
    assert shift_hue(red, -7.0).flatten().tolist() == [200, 47, 0]
    grey = torch.full((3, 1, 1), 77, dtype=torch.uint8)
    assert torch.equal(shift_hue(grey, 5.5), grey)


def test_powers_of_brightness_are_those_of_0_to_255():
    pixels = torch.tensor([0, 1, 128, 255], dtype=torch.uint8)
    assert raise_to_power(pixels, 1.05).tolist() == [0, 1, 163, 255]
    assert raise_to_power(pixels, 0.95).tolist() == [0, 1, 100, 193]
    assert raise_to_power(pixels, 1.0).tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(
    ("name", "face"),
    [
        ("me_300_200_90_120", Face((300, 200), (90, 120))),
        ("a_b_c_1_2_3_4", Face((1, 2), (3, 4))),
        ("300_200_90_120", None),
        ("me_0_200_90_120", None),
        ("me_5_5_0_0", None),
        ("me_x_200_90_120", None),
        ("me_5_5_9999999_1", None),
        ("plain", None),
    ],
)
def test_names_tell_faces(name, face):
    assert face_of(Path("x") / f"{name}.png") == face


SIDES = st.integers(16, 3000)


@given(
    SIDES, SIDES, SIDES, SIDES,
    st.integers(1, 4000), st.integers(0, 4000), st.integers(1, 2000), st.integers(0, 2000),
    st.floats(0.05, 20), st.floats(1, 10), st.booleans(), st.integers(0, 99),
)  # fmt: skip
def test_a_crop_to_a_face_always_lies_within_the_picture(
    width, height, wide, high, x, y, face_width, face_height, low, factor, anywhere, seed
):
    crop = usual_crop((width, height), Subset(image_dir="x", resolution=f"{wide},{high}",
                                              enable_bucket=False))  # fmt: skip
    face = Face((x, y), (face_width, face_height))
    drawn = crop_to_face(crop, face, (low, low * factor), random.Random(seed), anywhere=anywhere)
    left, top, right, bottom = drawn.crop_box
    assert left >= 0 and top >= 0 and right <= drawn.resized[0] and bottom <= drawn.resized[1]
    assert (right - left, bottom - top) == (wide, high)


def test_a_face_is_in_the_middle_and_as_large_as_asked():
    crop = Crop((1000, 1000), (200, 200), (200, 200))
    face = Face((400, 600), (100, 80))
    drawn = crop_to_face(crop, face, (4.0, 4.0), random.Random(0), anywhere=False)
    assert drawn.resized == (500, 500)  # the crop is 4 times as large as the face
    assert drawn.offset == (200 - 100, 300 - 100)
    sizes = {
        crop_to_face(crop, face, (2.0, 4.0), random.Random(n), anywhere=False).resized[0]
        for n in range(200)
    }
    assert 500 <= min(sizes) < 520 and 980 < max(sizes) <= 1000


def test_pictures_are_cut_to_faces_in_training(tmp_path):
    ramp(tmp_path / "a_80_16_8_8.png")
    ramp(tmp_path / "plain.png")
    data = training_set(tmp_path, face_crop_aug_range="1.0,3.0")
    assert data.drawn_anew == (True, False)
    assert {data.crop_at(0, epoch, 0).crop_box[0] for epoch in range(9)} == {64}
    assert [one.code for one in data.findings if one.code == "LX089"] == ["LX089"]


def test_faces_have_no_effect_in_buckets(tmp_path):
    ramp(tmp_path / "a_80_16_8_8.png")
    config = DataConfig(image_dir=str(tmp_path), resolution=32, face_crop_aug_range=[1, 3])
    (found,) = [one for one in examine(config).findings if one.code == "LX089"]
    assert "enable_bucket" in found.what


@pytest.mark.parametrize("value", ["2.0,4.0", [2, 4], (2.0, 4.0), "(2, 4)", " 2 , 4 "])
def test_a_range_of_faces_is_read_in_every_spelling(value):
    assert DataConfig(face_crop_aug_range=value).face_crop_aug_range == "2.0,4.0"


@pytest.mark.parametrize(
    "value", ["4,2", "0,2", "2", "a,b", "1,2,3", "nan,1", "1,inf", [1], "-1,2"]
)
def test_a_wrong_range_of_faces_is_refused(value):
    with pytest.raises(ConfigError, match="face_crop_aug_range"):
        DataConfig(face_crop_aug_range=value)
