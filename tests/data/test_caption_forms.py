"""Captions that are known before training: a fixed set of variants, and the longest forms."""

from __future__ import annotations

from collections import Counter

import pytest

from lycoris_ext.data import DataConfig, open_training_set
from lycoris_ext.data.caption_forms import known_forms, longest_forms
from lycoris_ext.data.captions import caption_for

CAPTION = "a, b, c, d, e, f, g, h"


def variants(number, seed=7, caption=CAPTION):
    config = DataConfig(shuffle_caption=True, keep_tokens=1, caption_variants=number)
    return known_forms(caption, config, seed)


def test_variants_depend_on_seed_and_caption_alone():
    first = variants(20)
    assert first == variants(20)
    assert set(first[:5]) == set(variants(5))
    assert len(first) > 15
    assert all(text.startswith("a, ") and len(text) == len(CAPTION) for text in first)
    assert first != variants(20, seed=8)
    other = variants(20, caption="a, b, c, d, e, f, g, i")
    assert [text.replace("i", "h") for text in other] != first
    # Written down, so that a cache of another version is found: never change them.
    assert first[:2] == ["a, g, d, e, h, c, b, f", "a, h, f, b, g, d, c, e"]


def test_a_caption_that_never_changes_has_one_form():
    assert known_forms(CAPTION, DataConfig(caption_prefix="by me"), 7) == [f"by me {CAPTION}"]


@pytest.fixture
def cached(pictures):
    return {
        "train_data_dir": str(pictures),
        "resolution": 32,
        "shuffle_caption": True,
        "caption_tag_dropout_rate": 0.3,
        "cache_text_encoder_outputs": True,
        "caption_variants": 4,
    }


def shown(training_set, epochs):
    """Return sample id -> captions, one an epoch."""
    seen: dict[int, list[str]] = {}
    for number in range(epochs * training_set.batches_per_epoch):
        plan = training_set.batch_at(number)
        for sample_id, caption in zip(plan.sample_ids, plan.captions, strict=True):
            seen.setdefault(sample_id, []).append(caption)
    return seen


def test_batches_show_the_variants_in_turn_and_nothing_else(cached, pictures):
    for path in pictures.rglob("*.txt"):
        path.write_text(f"{path.stem}, {CAPTION}", encoding="utf-8")
    training_set = open_training_set(DataConfig(**cached), seed=3)
    known = set(training_set.known_captions())
    seen = shown(training_set, 8)
    assert {caption for captions in seen.values() for caption in captions} == known
    for captions in seen.values():
        assert captions[:4] == captions[4:]
        assert len(set(captions)) == 4
    assert shown(open_training_set(DataConfig(**cached), seed=3), 8) == seen
    assert len({tuple(captions) for captions in seen.values()}) > len(training_set.pictures)


def test_the_same_captions_are_dropped_with_variants_and_without(cached, pictures):
    for path in pictures.rglob("*.txt"):
        path.write_text(f"{CAPTION}, {CAPTION}", encoding="utf-8")
    dropping = {**cached, "caption_dropout_rate": 0.3, "caption_dropout_every_n_epochs": 5}
    of_cache = open_training_set(DataConfig(**dropping), seed=3)
    del dropping["cache_text_encoder_outputs"], dropping["caption_variants"]
    without = open_training_set(DataConfig(**dropping), seed=3)
    dropped = [
        {key: [caption == "" for caption in captions] for key, captions in each.items()}
        for each in (shown(of_cache, 10), shown(without, 10))
    ]
    assert dropped[0] == dropped[1]
    counts = Counter(gone for each in dropped[0].values() for gone in each)
    assert counts[True] and counts[False]
    assert "" in of_cache.known_captions()


def test_a_cache_of_captions_that_are_only_dropped_changes_no_batch(cached):
    plain = {
        "train_data_dir": cached["train_data_dir"],
        "resolution": 32,
        "caption_dropout_rate": 0.4,
        "caption_prefix": "by me,",
    }
    without = open_training_set(DataConfig(**plain), seed=3)
    kept = open_training_set(DataConfig(**plain, cache_text_encoder_outputs=True), seed=3)
    numbers = range(3 * without.batches_per_epoch)
    assert [kept.batch_at(n) for n in numbers] == [without.batch_at(n) for n in numbers]
    seen = {caption for n in numbers for caption in kept.batch_at(n).captions}
    assert set(kept.known_captions()) == seen and "" in seen


def test_each_picture_has_its_own_subsets_variants_and_dropouts(tmp_path, pictures):
    folder = str(pictures / "2_shapes")
    tables = [
        {"image_dir": folder, "shuffle_caption": False},
        {"image_dir": folder, "caption_prefix": "mine,", "caption_dropout_rate": 0.5},
        {"image_dir": folder, "caption_suffix": ", seven, eight", "caption_variants": 2},
    ]
    config = DataConfig(
        subsets=tables,
        resolution=32,
        shuffle_caption=True,
        cache_text_encoder_outputs=True,
        caption_variants=3,
    )
    training_set = open_training_set(config, seed=3)
    seen = {caption for captions in shown(training_set, 40).values() for caption in captions}
    assert seen == set(training_set.known_captions())


@pytest.mark.parametrize(
    ("options", "step", "total", "expected"),
    [
        ({"token_warmup_step": 10, "token_warmup_min": 2}, 0, 0, 2),
        ({"token_warmup_step": 10, "token_warmup_min": 2}, 5, 0, 5),
        ({"token_warmup_step": 10, "token_warmup_min": 2}, 9, 0, 7),  # 9 * 0.6 + 2 = 7.4
        ({"token_warmup_step": 10, "token_warmup_min": 2}, 10, 0, 8),
        ({"token_warmup_step": 0.25}, 0, 40, 1),
        ({"token_warmup_step": 0.25}, 5, 40, 4),  # 5 * 0.7 + 1 = 4.5
        ({"token_warmup_step": 0.25}, 10, 40, 8),
        ({"token_warmup_step": 0.25}, 0, 3, 8),  # a quarter of 3 steps is no step
        ({"token_warmup_step": 10, "token_warmup_min": 20}, 3, 0, 8),
        ({"token_warmup_step": 10, "token_warmup_min": 0}, 0, 0, 0),
        ({"token_warmup_step": 10, "keep_tokens": 3}, 0, 0, 4),  # and the three that are kept
        ({"token_warmup_min": 2}, 0, 0, 8),
    ],
)
def test_token_warmup_shows_more_and_more_tags(options, step, total, expected):
    text = caption_for(
        CAPTION,
        DataConfig(**options),
        seed=0,
        epoch=0,
        sample_id=0,
        step=step,
        total_steps=total,
    )
    assert text == ", ".join(CAPTION.split(", ")[:expected])


def test_token_warmup_cuts_before_it_shuffles_and_counts_steps_of_the_optimizer(pictures):
    for path in pictures.rglob("*.txt"):
        path.write_text(CAPTION, encoding="utf-8")
    config = DataConfig(
        train_data_dir=str(pictures), resolution=32, shuffle_caption=True, token_warmup_step=0.5
    )
    training_set = open_training_set(config, seed=0)
    training_set.count_steps(batches_per_step=2, total_steps=16)
    for number in range(20):
        (caption,) = training_set.batch_at(number).captions
        step = number // 2
        count = 8 if step >= 8 else 1 + int(step * 7 / 8)
        assert sorted(caption.split(", ")) == list("abcdefgh")[:count]


def test_longest_forms_hold_every_tag_and_the_longest_wildcards():
    config = DataConfig(
        enable_wildcard=True,
        caption_prefix="by {me|somebody}",
        caption_suffix="end",
        shuffle_caption=True,
        caption_tag_dropout_rate=1.0,
        caption_dropout_rate=1.0,
        token_warmup_step=0.5,
        secondary_separator=";",
    )
    assert longest_forms("a;b, {red|blue}\nc", config) == [
        "by somebody a,b, blue end",
        "by somebody c end",
    ]
    assert longest_forms("a\nb", DataConfig()) == ["a\nb"]
