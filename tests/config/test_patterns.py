"""Patterns for the layers of an adapter: they fit these layers, no others, and are few."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext.config.from_adapter.patterns import DOT, DOT_OR_UNDERSCORE, Path, cover, exactly

NUMBERS = st.integers(0, 130).map(str)
WORDS = st.sampled_from(["blocks", "attn", "to_q", "to_k", "x", "00", "7a"])
PATHS = st.tuples(
    st.sampled_from(["unet", "text_encoder", "text_encoder_2", "model"]), WORDS, NUMBERS
) | st.tuples(st.sampled_from(["unet", "text_encoder"]), WORDS, NUMBERS, WORDS | NUMBERS)


def fitting(patterns: list[str], paths: set[Path]) -> set[Path]:
    return {path for path in paths if any(re.search(p, ".".join(path)) for p in patterns)}


@given(st.sets(PATHS, min_size=1, max_size=40), st.data())
def test_a_cover_fits_just_the_wanted_paths(paths: set[Path], data: st.DataObject) -> None:
    inside = data.draw(st.sets(st.sampled_from(sorted(paths)), min_size=1))
    for patterns in (cover(inside, paths - inside), exactly(inside)):
        assert fitting([pattern.text() for pattern in patterns], paths) == inside


@given(st.sets(PATHS, min_size=1, max_size=40))
def test_patterns_for_unknown_dots_fit_both_ways_to_write_a_name(paths: set[Path]) -> None:
    known = {path for path in paths if path[0] != "model"}
    patterns = [pattern.text(DOT_OR_UNDERSCORE) for pattern in exactly(known)]
    for path in known:
        for name in (".".join(path), f"{path[0]}.{'_'.join(path[1:])}"):
            assert any(re.search(pattern, name) for pattern in patterns)
            assert not any(re.search(pattern, f"{name}_more") for pattern in patterns)


PARTS = st.lists(
    st.sampled_from(["mid", "block", "to", "q", "v", "0", "10"]), min_size=1, max_size=5
)


@given(st.sets(PARTS.map(tuple), min_size=1, max_size=20), st.data())
def test_a_cover_of_names_without_dots_fits_them_wherever_the_dots_are(
    paths: set[tuple[str, ...]], data: st.DataObject
) -> None:
    inside = data.draw(st.sets(st.sampled_from(sorted(paths)), min_size=1))
    found = cover([("unet", *p) for p in inside], [("unet", *p) for p in paths - inside])
    patterns = [pattern.text(DOT_OR_UNDERSCORE) for pattern in found]
    for parts in paths:
        name = f"unet.{parts[0]}"
        for part in parts[1:]:
            name += data.draw(st.sampled_from("._")) + part
        assert any(re.search(pattern, name) for pattern in patterns) == (parts in inside)


def test_a_beginning_may_end_inside_of_a_name() -> None:
    """The underscore behind "mid" belongs to the name mid_block, which the file's key hides."""
    inside = ["mid block a to v", "mid block b to v", "mid block c to v"]
    outside = ["mid block a to q", "up block a to v", "up block b to v", "mid block to v x"]
    found = cover([("unet", *p.split()) for p in inside], [("unet", *p.split()) for p in outside])
    patterns = [pattern.text(DOT_OR_UNDERSCORE) for pattern in found]
    for name in ("unet.mid_block.a.to_v", "unet.mid_block.b.to_v", "unet.mid_block_c_to_v"):
        assert any(re.search(pattern, name) for pattern in patterns), patterns


@pytest.mark.parametrize(
    ("paths", "texts"),
    [
        ([f"unet.a.{n}.b" for n in range(38)], [r"^unet\.a\.(?:[0-9]|[12][0-9]|3[0-7])\.b$"]),
        (["unet.a.0", "unet.a.10", "unet.a.2"], [r"^unet\.a\.(?:[02]|10)$"]),
        (["unet.a.to_q", "unet.a.to_k"], [r"^unet\.a\.(?:to_k|to_q)$"]),
        (["unet.a.b", "unet.a.c", "unet.d.b", "unet.d.c"], [r"^unet\.(?:a|d)\.(?:b|c)$"]),
        (["text_encoder.a"], [r"^text_encoder\b.*\.a$"]),
    ],
)
def test_paths_that_differ_in_a_word_share_a_pattern(paths: list[str], texts: list[str]) -> None:
    assert [p.text(DOT) for p in exactly(tuple(path.split(".")) for path in paths)] == texts
