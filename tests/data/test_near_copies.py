"""Pictures that look nearly the same are found, and those of one subject are not."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance

from lycoris_ext.data import DataConfig, examine
from lycoris_ext.data.measures import Measures, measure, perceptual_hashes
from lycoris_ext.data.near_copies import MOST_BITS, near_copies


def drawn(seed, size=(256, 192)):
    rng = random.Random(seed)
    picture = Image.new("RGB", size, rng.choice(["navy", "olive", "tan", "teal", "gray"]))
    pen = ImageDraw.Draw(picture)
    for _ in range(40):
        x, y = (rng.randrange(side) for side in size)
        box = x, y, x + rng.randrange(1, 90), y + rng.randrange(1, 90)
        rng.choice([pen.ellipse, pen.rectangle])(box, fill=tuple(rng.randbytes(3)))
    return picture


def of_look(look, tones="00" * 192):
    return Measures(0, 255, 0.1, 90, 0, look, tones)


def test_pictures_that_were_saved_or_scaled_again_are_told_by_name(tmp_path):
    for number in range(6):
        drawn(number).save(tmp_path / f"{number}.png")
    drawn(2).save(tmp_path / "again.jpg", quality=70)
    drawn(3).resize((512, 384), Image.Resampling.LANCZOS).save(tmp_path / "large.webp")
    ImageEnhance.Brightness(drawn(4)).enhance(0.94).save(tmp_path / "lighter.png")
    (tmp_path / "same.png").write_bytes((tmp_path / "5.png").read_bytes())
    config = DataConfig(image_dir=str(tmp_path), allow_missing_captions=True, resolution=128)
    found = {one.code: one for one in examine(config).findings}
    assert [(path.name, detail) for path, detail in found["LX037"].where] == [
        ("2.png", "has 1 copy here"),
        ("again.jpg", "like 2.png"),
        ("3.png", "has 1 copy here"),
        ("large.webp", "like 3.png"),
        ("4.png", "has 1 copy here"),
        ("lighter.png", "like 4.png"),
    ]
    assert [path.name for path, _ in found["LX019"].where] == ["5.png", "same.png"]


def test_drawings_of_one_subject_in_other_poses_are_not_told():
    def posed(arm):
        picture = Image.new("RGB", (300, 300), "white")
        pen = ImageDraw.Draw(picture)
        pen.ellipse((100, 60, 200, 280), fill="crimson")
        pen.line((150, 140, 150 + arm, 140 - abs(arm) // 2), fill="crimson", width=26)
        return measure(picture)

    assert near_copies([posed(arm) for arm in (-120, -60, 70, 130)]) == {}


def test_the_same_shapes_in_other_colours_are_not_told():
    def flag(*colours):
        picture = Image.new("RGB", (300, 200))
        for number, colour in enumerate(colours):
            picture.paste(colour, (number * 100, 0, number * 100 + 100, 200))
        return measure(picture)

    red, green = flag("red", "white", "#4d4d4d"), flag("#4d4d4d", "white", "red")
    assert near_copies([red, replace(green, look=red.look)]) == {}


@given(st.lists(st.integers(0, 2**64 - 1), max_size=40), st.data())
def test_the_pairs_are_those_of_comparing_each_with_each(looks, data):
    flips = st.lists(st.integers(0, 63), max_size=6)
    for look in looks[: data.draw(st.integers(0, 10))]:
        for bit in data.draw(flips):
            look ^= 1 << bit
        looks.append(look)
    first, expected = [], {}
    for number, look in enumerate(looks):
        near = [at for at in first if (look ^ looks[at]).bit_count() <= MOST_BITS]
        if near:
            expected[number] = near[0]
        else:
            first.append(number)
    assert near_copies(list(map(of_look, looks))) == expected


def test_pairs_are_found_across_blocks_and_many_equal_pictures_take_no_time():
    rng = random.Random(0)
    looks = [rng.getrandbits(64) for _ in range(700)]
    found = near_copies([of_look(look) for look in [*looks, looks[3] ^ 5, looks[690]]])
    assert found == {700: 3, 701: 690}
    assert set(near_copies([of_look(looks[0])] * 5000).values()) == {0}


def test_the_hash_is_that_of_the_published_method():
    """The low 8 x 8 of scipy's DCT of 32 x 32 pixels, above their median or not."""
    fft = pytest.importorskip("scipy.fft")
    for seed in range(8):
        grey = drawn(seed).convert("L")
        small = grey.resize((32, 32), Image.Resampling.LANCZOS)
        flat = torch.tensor(list(small.tobytes()), dtype=torch.float64).view(32, 32).numpy()
        low = fft.dct(fft.dct(flat, axis=0), axis=1)[:8, :8].flatten()
        ordered = sorted(low)
        median = (ordered[31] + ordered[32]) / 2
        assert f"{perceptual_hashes([grey])[0]:064b}" == "".join(
            "01"[bool(wave > median)] for wave in low
        )
