"""Texts for people: numbers with their nouns, long lists, foreign texts, sizes and times."""

from __future__ import annotations

import pytest

from lycoris_ext.words import and_more, count, duration, file_size, one_line, short


@pytest.mark.parametrize(
    ("number", "words", "text"),
    [
        (1, ("picture",), "1 picture"),
        (0, ("picture",), "0 pictures"),
        (2, ("entry", "entries"), "2 entries"),
        (12345, ("step",), "12,345 steps"),
    ],
)
def test_a_noun_is_plural_after_every_number_but_1(
    number: int, words: tuple[str, ...], text: str
) -> None:
    assert count(number, *words) == text


def test_a_long_list_says_how_many_it_leaves_out() -> None:
    assert and_more([]) == ""
    assert and_more("abc") == "a, b, c"
    assert and_more("abcde") == "a, b, c and 2 more"
    assert and_more("abc", 2, "\n  ") == "a\n  b\n  and 1 more"


def test_control_characters_are_removed_from_foreign_texts() -> None:
    assert one_line("a\x1b[2J\nb") == "a [2J b"
    assert short("a\x1b[2J\n\n  b\u202e  c") == "a [2J b c"
    assert short("x" * 200, 10) == "xxxxxxx..."
    assert short("x" * 10, 10) == "x" * 10


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0.0 kB"), (98_300, "98.3 kB"), (4_440_000, "4.44 MB"), (6.94e9, "6.94 GB")],
)
def test_file_sizes_are_shown_with_three_digits_and_a_unit(size: float, text: str) -> None:
    assert file_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(41.6, "42 s"), (59.6, "1 min 00 s"), (187, "3 min 07 s"), (7500, "2 h 05 min")],
)
def test_durations_are_shown_in_their_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text
