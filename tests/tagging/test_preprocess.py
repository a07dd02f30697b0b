"""Pictures become what taggers were trained on: square, white around, area averages, blue first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lycoris_ext.tagging.preprocess import prepared


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def square(picture: Image.Image) -> np.ndarray:
    """Put a picture on a white square, blue first, as sd-scripts does."""
    side = max(picture.size)
    page = np.full((side, side, 3), 255.0)
    top, left = (side - picture.height) // 2, (side - picture.width) // 2
    page[top : top + picture.height, left : left + picture.width] = np.asarray(picture)
    return page[:, :, ::-1]


def shares(side: int, size: int) -> np.ndarray:
    """[size, side]: how much of each area each pixel is, by the overlap of two intervals."""
    scale = side / size
    starts, pixels = np.arange(size)[:, None] * scale, np.arange(side)[None]
    both = np.minimum(starts + scale, pixels + 1) - np.maximum(starts, pixels)
    return np.clip(both, 0, 1) / scale


@settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 90), height=st.integers(1, 90), size=st.integers(1, 24))
def test_areas_are_averaged_over_the_white_square(width: int, height: int, size: int) -> None:
    side = max(width, height)
    picture = noise(width, height, width * 91 + height)
    made = prepared(picture, size)
    assert made.shape == (size, size, 3) and made.dtype == np.float32
    assert (made == np.rint(made)).all() and made.min() >= 0 and made.max() <= 255
    if side >= size:
        parts = shares(side, size)
        means = np.einsum("ai,ijc,bj->abc", parts, square(picture), parts)
        assert np.abs(made - means).max() <= 0.52  # OpenCV leaves out less than 1/1000 of a pixel


@pytest.mark.parametrize("size", [(12, 12), (12, 5), (5, 12)])
def test_small_pictures_are_enlarged_with_lanczos(size: tuple[int, int]) -> None:
    picture = noise(*size)
    page = Image.fromarray(np.ascontiguousarray(square(picture)[:, :, ::-1]).astype(np.uint8))
    wanted = np.asarray(page.resize((16, 16), Image.Resampling.LANCZOS))[:, :, ::-1]
    assert (prepared(picture, 16) == wanted).all()


def test_a_picture_of_the_size_stays_as_it_is() -> None:
    picture = noise(16, 16)
    assert (prepared(picture, 16) == np.asarray(picture)[:, :, ::-1]).all()


def test_halves_are_rounded_as_opencv_rounds_them() -> None:
    halves = Image.fromarray(np.array([[[0] * 3, [1] * 3], [[1] * 3, [0] * 3]], dtype=np.uint8))
    assert prepared(halves, 1).ravel().tolist() == [1.0] * 3  # 0.5, rounded upwards
    quarters = Image.new("RGB", (4, 4), (0, 0, 0))
    quarters.paste((1, 1, 1), (0, 0, 4, 2))
    assert prepared(quarters, 1).ravel().tolist() == [0.0] * 3  # 0.5, rounded to even


@pytest.mark.parametrize("size", [(60_000, 20), (20, 60_000)])
def test_the_square_around_a_long_picture_is_never_made(size: tuple[int, int]) -> None:
    made = prepared(Image.new("RGB", size, (10, 20, 30)), 16)  # the square would have 10.8 GB
    if size[0] < size[1]:
        made = made.transpose(1, 0, 2)
    assert (made[0] == 255).all() and (made[-1] == 255).all()
    assert (made[7:9] < 255).all()
