"""Options that change captions work as in sd-scripts, and by chance as seed and sample say."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from lycoris_ext.data import DataConfig, scan_folders
from lycoris_ext.data.captions import caption_for
from lycoris_ext.errors import ConfigError

ORACLE = json.loads(
    (Path(__file__).parents[1] / "oracles" / "sd_scripts_data.json").read_text("utf-8")
)


def shown(caption, *, epoch=0, sample_id=0, **options):
    return caption_for(caption, DataConfig(**options), seed=0, epoch=epoch, sample_id=sample_id)


@pytest.mark.parametrize("case", ORACLE["captions"], ids=lambda case: case["caption"])
def test_captions_without_chance_are_those_of_sd_scripts(case):
    """The oracle holds what sd-scripts made of these captions where nothing is left to chance."""
    assert shown(case["caption"], epoch=case["epoch"], **case["options"]) == case["expected"]


def test_keep_tokens_separator_keeps_both_ends_while_the_middle_is_shuffled():
    options = {"shuffle_caption": True, "keep_tokens_separator": "|||", "keep_tokens": 7}
    seen = {shown("a, b ||| c, d, e, f ||| g, h", epoch=epoch, **options) for epoch in range(30)}
    assert len(seen) > 10
    for caption in seen:
        assert caption.startswith("a, b, ") and caption.endswith(", g, h")
        assert sorted(caption.split(", ")) == list("abcdefgh")


def test_keep_tokens_separator_is_removed_from_the_caption():
    assert shown("a ||| b", keep_tokens_separator="|||") == "a, b"
    assert shown("a, b", keep_tokens_separator="|||") == "a, b"


def test_tags_joined_by_the_secondary_separator_stay_together():
    options = {"shuffle_caption": True, "secondary_separator": ";"}
    seen = {shown("a, b;c;d, e", epoch=epoch, **options) for epoch in range(20)}
    assert len(seen) > 3
    assert all("b,c,d" in caption for caption in seen)


def test_wildcards_are_drawn_evenly_and_the_same_again():
    options = {"enable_wildcard": True}
    seen = [shown("a {red|blue|green} cat", sample_id=n, **options) for n in range(600)]
    counts = Counter(caption.split()[1] for caption in seen)
    assert set(counts) == {"red", "blue", "green"}
    assert all(150 < count < 250 for count in counts.values())
    assert seen == [shown("a {red|blue|green} cat", sample_id=n, **options) for n in range(600)]


def test_enable_wildcard_draws_one_of_several_lines(tmp_path, pictures):
    (pictures / "2_shapes" / "02.txt").write_text("one\n\n two \nthree\n", encoding="utf-8")
    scan = scan_folders(DataConfig(train_data_dir=str(pictures), enable_wildcard=True))
    assert scan.findings == ()
    caption = scan.pictures[2].caption
    assert caption == "one\ntwo\nthree"
    seen = {shown(caption, sample_id=n, enable_wildcard=True) for n in range(40)}
    assert seen == {"one", "two", "three"}
    options = {"enable_wildcard": True, "caption_prefix": "by me,", "caption_suffix": "end"}
    seen = {shown(caption, sample_id=n, **options) for n in range(40)}
    assert seen == {"by me, one end", "by me, two end", "by me, three end"}


def test_a_negative_caption_dropout_every_n_epochs_is_refused():
    with pytest.raises(ConfigError, match="caption_dropout_every_n_epochs is -1"):
        DataConfig(caption_dropout_every_n_epochs=-1)
