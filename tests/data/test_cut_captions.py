"""Captions of more tokens than are read are counted and named before training."""

from __future__ import annotations

import pytest

from lycoris_ext.data import DataConfig, TokenLimit, examine, finding_lines
from tests.tiny_pictures import write_pictures


def words(text: str) -> int:
    """Stand in for a tokenizer: each word is a token."""
    return len(text.split())


def findings(folder, limit, **options):
    config = DataConfig(train_data_dir=str(folder), resolution=32, **options)
    return examine(config, token_limit=limit).findings


@pytest.fixture
def folder(tmp_path):
    place = write_pictures(tmp_path / "train", count=4)
    for name, number in (("00", 75), ("01", 104), ("02", 76), ("03", 3)):
        (place / "2_shapes" / f"{name}.txt").write_text("tag " * number, encoding="utf-8")
    return place


def test_captions_that_are_cut_are_counted_and_named_the_longest_first(folder):
    (line,) = finding_lines(findings(folder, TokenLimit(words)))
    assert line == (
        "warning LX018: 2 of 4 captions are longer than 75 tokens, and the rest is not read: "
        "01.txt (104 tokens), 02.txt (76 tokens) -> set max_token_length = 150, or shorten these "
        "captions"
    )


@pytest.mark.parametrize(
    ("limit", "fix"),
    [
        (TokenLimit(lambda text: 2 * words(text)), "set max_token_length = 225, or shorten these"),
        (TokenLimit(lambda text: 5 * words(text)), "set max_token_length = 225, and shorten the"),
        (TokenLimit(lambda text: 5 * words(text), 225), "shorten these captions, or put what"),
        (TokenLimit(words, 75, 40), "set max_token_length = 225"),  # 104 tokens in pieces of 40
    ],
)
def test_the_smallest_max_token_length_that_helps_is_named(folder, limit, fix):
    (finding,) = findings(folder, limit)
    assert finding.fix.startswith(fix)


def test_nothing_is_said_where_all_is_read_or_nobody_counts(folder):
    assert findings(folder, TokenLimit(words, 150)) == ()
    assert findings(folder, None) == ()


def test_the_caption_is_counted_as_it_is_shown(folder):
    (finding,) = findings(folder, TokenLimit(words), caption_prefix="by me")
    assert [location.detail for location in finding.where] == [
        "106 tokens",
        "78 tokens",
        "77 tokens",
    ]
    dropped = findings(folder, TokenLimit(words), shuffle_caption=True, caption_dropout_rate=0.9)
    assert dropped == findings(folder, TokenLimit(words))


def test_a_picture_without_a_caption_file_is_named_itself(tmp_path):
    place = write_pictures(tmp_path / "train", count=1)
    (place / "2_shapes" / "00.txt").unlink()
    table = {"image_dir": str(place / "2_shapes"), "class_tokens": "tag " * 80}
    config = DataConfig(subsets=[table], resolution=32)
    found = examine(config, token_limit=TokenLimit(words)).findings
    assert found[-1].code == "LX018"
    assert found[-1].where[0].path == place / "2_shapes" / "00.png"
