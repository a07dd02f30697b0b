"""Comparison grids: pictures stand in their places, and labels fit."""

from __future__ import annotations

import pytest
from PIL import Image

from lycoris_ext.errors import ConfigError
from lycoris_ext.plots.grid import _text_width, _wrap, comparison_grid, crossed_out

COLOURS = [(200, 10 * row, 20 * column) for row in range(4) for column in range(3)]


def picture(index, size=(64, 64)):
    return Image.new("RGB", size, COLOURS[index])


def found(grid, colour):
    """Return the bounding box of all pixels of exactly this colour."""
    pixels = grid.load()
    hits = [
        (x, y)
        for y in range(0, grid.height, 4)
        for x in range(0, grid.width, 4)
        if pixels[x, y] == colour
    ]
    assert hits, f"{colour} is not on the sheet"
    xs, ys = [x for x, _ in hits], [y for _, y in hits]
    return min(xs), min(ys), max(xs), max(ys)


def cells():
    return [[picture(row * 3 + column) for column in range(3)] for row in range(4)]


def test_pictures_stand_in_rows_and_columns_enlarged():
    grid = comparison_grid(cells(), ["a", "b", "c", "d"], ["x", "y", "z"], "Title")
    boxes = {(r, c): found(grid, COLOURS[r * 3 + c]) for r in range(4) for c in range(3)}
    assert all(120 <= box[2] - box[0] <= 128 for box in boxes.values())
    assert all(abs(boxes[r, 0][0] - boxes[0, 0][0]) <= 4 for r in range(4))
    assert all(abs(boxes[0, c][1] - boxes[0, 0][1]) <= 4 for c in range(3))
    assert boxes[0, 0][2] < boxes[0, 1][0] < boxes[0, 2][0]
    assert boxes[0, 0][3] < boxes[1, 0][1] < boxes[2, 0][1]


def test_blocks_of_rows_stand_side_by_side():
    tall = comparison_grid(cells(), ["a", "b", "c", "d"], ["x", "y", "z"])
    wide = comparison_grid(cells(), ["a", "b", "c", "d"], ["x", "y", "z"], blocks=2)
    assert wide.height < tall.height
    assert wide.width > tall.width
    first, third = found(wide, COLOURS[0]), found(wide, COLOURS[6])
    assert third[0] > first[2]
    assert abs(third[1] - first[1]) <= 4


def test_groups_of_columns_are_set_apart():
    labels = ["a"] * 4, ["x", "y", "z"]
    plain = comparison_grid(cells(), *labels)
    grouped = comparison_grid(cells(), *labels, groups=(1,))
    assert grouped.width > plain.width


def test_large_pictures_keep_their_size():
    grid = comparison_grid([[picture(0, (512, 512))]], [""], ["x"])
    left, _, right, _ = found(grid, COLOURS[0])
    assert 500 < right - left < 512
    assert 512 < grid.width < 640


def test_fonts_and_margins_grow_with_large_pictures():
    small, large = (
        comparison_grid([[picture(0, (side, side))]], ["a row"], ["a column"], "A title")
        for side in (256, 512)
    )
    assert abs(large.width / small.width - 2) < 0.05
    assert abs(large.height / small.height - 2) < 0.05


def test_pictures_keep_their_proportions_beside_empty_cells_and_other_sizes():
    rows = [[picture(0, (64, 32)), None], [picture(1, (32, 64)), picture(2)]]
    grid = comparison_grid(rows, ["a", "b"], ["x", "y"])
    box = found(grid, COLOURS[0])
    assert box[2] - box[0] > 1.7 * (box[3] - box[1])


def test_without_row_labels_there_is_no_column_for_them():
    narrow = comparison_grid([[picture(0)]], [""], ["x"])
    wide = comparison_grid([[picture(0)]], ["a long label of a row"], ["x"])
    assert wide.width > narrow.width + 50


@pytest.mark.parametrize(
    "text", ["one two three four five six seven", "a_very_long_name_000123.safetensors", "W" * 60]
)
def test_long_texts_are_wrapped_into_four_lines_of_their_width(text):
    lines = _wrap(text, 15, 100)
    assert 1 < len(lines) <= 4
    assert all(_text_width(line, 15) <= 100 for line in lines)


def test_text_that_does_not_fit_ends_in_dots():
    assert _wrap("word " * 40, 15, 100)[-1].endswith("...")
    assert _wrap("", 15, 100) == []


def test_lines_after_a_long_prompt_are_still_shown():
    lines = _wrap("word " * 40 + "\nseed 1, negative: rain", 15, 100, most=4)
    assert len(lines) == 4 and lines[1].endswith("...")
    assert " ".join(lines[2:]) == "seed 1, negative: rain"
    assert _wrap("a cat\nseed 1", 15, 100) == ["a cat", "seed 1"]
    assert _wrap("a cat\nseed 1", 15, 100, most=1) == ["a cat"]
    after = _wrap("a cat\n" + "word " * 40, 15, 100, most=3)
    assert len(after) == 3 and after[0] == "a cat" and after[2].endswith("...")


def test_a_crossed_out_picture_is_a_copy():
    whole = picture(0, (64, 64))
    crossed = crossed_out(whole, "not as asked")
    assert set(whole.getcolors()) == {(64 * 64, COLOURS[0])}
    assert {c: n for n, c in crossed.getcolors(4096)}[179, 38, 30] > 64


@pytest.mark.parametrize(
    ("rows", "row_labels", "column_labels", "message"),
    [
        ([], [], ["x"], "0 rows and 1 column"),
        ([[None]], [], ["x"], "1 row and 0 row labels"),
        ([[None]], ["a"], ["x", "y"], "row 0 has 1 picture, the grid 2 columns"),
    ],
)
def test_unequal_numbers_of_pictures_and_labels_are_refused(
    rows, row_labels, column_labels, message
):
    with pytest.raises(ConfigError, match=message):
        comparison_grid(rows, row_labels, column_labels)
