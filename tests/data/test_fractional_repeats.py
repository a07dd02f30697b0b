"""Repeats that are fractions, from multiply.txt and the option multiply."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext.config import build_config, read_config
from lycoris_ext.config.resolve import OptionSource
from lycoris_ext.data import DataConfig, TrainingSet, examine, open_training_set
from lycoris_ext.data.folders import options_for
from lycoris_ext.data.order import BatchOrder, EqualEpochs, Part
from lycoris_ext.training.run_config import RunConfig
from tests.tiny_pictures import write_pictures


def _pictures(root: Path, folders: dict[str, int]) -> Path:
    for name, number in folders.items():
        write_pictures(root / "made", count=number, repeats=1)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "made" / "1_shapes").rename(root / name)
    (root / "made").rmdir()
    return root


def _shown(pictures: TrainingSet, epochs: range) -> Counter[str]:
    """Count how often each folder's pictures come in some epochs."""
    first, last = (pictures.epochs.batches_in(end) for end in (epochs.start, epochs.stop))
    plans = [pictures.batch_at(number) for number in range(first, last)]
    assert {plan.epoch for plan in plans} <= set(epochs)
    return Counter(pictures.pictures[one].folder for plan in plans for one in plan.pictures)


def test_nested_folders_are_trained_by_their_multiply(tmp_path: Path) -> None:
    root = _pictures(tmp_path, {"fanart/1_character": 5, "screens/x+y": 2, "screens/z": 3})
    (root / "fanart/1_character/multiply.txt").write_text("2.5")
    (root / "screens/z/multiply.txt").write_text("0.3")
    pictures = open_training_set(DataConfig(train_data_dir=str(root), resolution=32), seed=3)
    assert {one.folder for one in pictures.pictures} == {
        "fanart~1_character",
        "screens~x+y",
        "screens~z",
    }
    shown = _shown(pictures, range(20))
    assert shown == {"fanart~1_character": 250, "screens~x+y": 40, "screens~z": 18}
    each = [_shown(pictures, range(epoch, epoch + 1)) for epoch in range(20)]
    assert {one["fanart~1_character"] for one in each} == {12, 13}
    assert {one["screens~z"] for one in each} == {0, 1}


def test_a_part_is_drawn_anew_in_every_epoch_and_the_same_for_the_same_seed() -> None:
    part = Part(range(40), Fraction(1, 2), 0, seed=1)
    halves = [frozenset(part.absent(epoch)) for epoch in range(8)]
    assert {len(half) for half in halves} == {20}
    assert len(set(halves)) == 8
    assert halves[3] == Part(range(40), Fraction(1, 2), 0, seed=1).absent(3)
    assert halves[0] != Part(range(40), Fraction(1, 2), 1, seed=1).absent(0)
    assert halves[0] != Part(range(40), Fraction(1, 2), 0, seed=2).absent(0)


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.fractions(Fraction(1, 20), Fraction(19, 20), max_denominator=20),
    st.integers(1, 4),
)
def test_batches_are_found_by_number_whatever_the_epochs_hold(
    sizes: list[int], share: Fraction, batch_size: int
) -> None:
    buckets = [(64 * number, 64) for number, size in enumerate(sizes, 1) for _ in range(size)]
    ids = range(len(buckets))
    order = BatchOrder(buckets, [batch_size] * len(buckets), 5, [Part(ids, share, 0, 5)])
    seen: Counter[int] = Counter()
    for number in range(order.batches_in(12)):
        slot = order.batch_at(number)
        assert order.batches_in(slot.epoch) <= number < order.batches_in(slot.epoch + 1)
        assert order.complete_in(number) == slot.epoch
        assert 1 <= len(slot.sample_ids) <= batch_size
        seen.update(slot.sample_ids)
    assert seen.total() == (12 * len(buckets) * share).__floor__()


def test_whole_repeats_give_the_batches_that_they_always_gave() -> None:
    order = BatchOrder([(64, 64)] * 7, [2] * 7, 5)
    assert [order.batches_in(number) for number in range(4)] == [0, 4, 8, 12]
    assert [order.complete_in(number) for number in (0, 3, 4, 11, 12)] == [0, 0, 1, 2, 3]


def test_epochs_that_differ_end_where_their_last_batch_was_shown() -> None:
    ids = range(5)
    order = BatchOrder([(64, 64)] * 5, [2] * 5, 5, [Part(ids, Fraction(1, 2), 0, 5)])
    # 2, 3, 2, 3 samples: 1, 2, 1, 2 batches
    run = RunConfig(gradient_accumulation_steps=2, max_train_epochs=4)
    assert [order.batches_in(number) for number in range(1, 5)] == [1, 3, 4, 6]
    assert run.total_steps(order) == 3
    assert [run.epochs_ending_at(step, order) for step in (1, 2, 3)] == [1, 3, 4]
    assert run.total_steps(EqualEpochs(3)) == 6


def test_a_table_of_subsets_and_a_single_folder_take_multiply(tmp_path: Path) -> None:
    root = _pictures(tmp_path, {"a": 4, "b": 4, "c": 4, "d": 1})
    (root / "b" / "multiply.txt").write_text("0.5")
    (root / "c" / "multiply.txt").write_text("0.5")
    (root / "d" / "multiply.txt").write_text("0")
    tables = [
        {"image_dir": str(root / "a"), "multiply": 1.5, "num_repeats": 2},
        {"image_dir": str(root / "b")},
        {"image_dir": str(root / "c"), "multiply": 0.25},
        {"image_dir": str(root / "d")},
    ]
    config = build_config([OptionSource("test", {"subsets": tables, "resolution": 32})])
    scan = examine(config.data)
    repeats = {one.folder: one.repeats for one in scan.pictures}
    assert repeats == {"a": 3, "b": 0.5, "c": 0.25}
    assert type(repeats["a"]) is int
    assert "LX006" in [finding.code for finding in scan.findings]


def test_a_fraction_changes_the_fingerprint_and_whole_numbers_do_not(tmp_path: Path) -> None:
    root = _pictures(tmp_path, {"a": 4})

    def made(**options: float) -> str:
        table = {"image_dir": str(root / "a"), **options}
        config = build_config([OptionSource("test", {"subsets": [table], "resolution": 32})])
        return open_training_set(config.data, seed=0).fingerprint

    assert made(num_repeats=3) == made(multiply=3)
    assert made(num_repeats=3) != made(multiply=2.5)


def test_a_balance_with_fractions_is_a_config_that_trains_them(tmp_path: Path) -> None:
    from lycoris_ext.cli import main

    root = _pictures(tmp_path / "set", {"a": 4, "b": 3})
    output = tmp_path / "my.toml"
    arguments = ["dataset", "balance", str(root), "--rounding", "fractional"]
    assert main([*arguments, "--config", str(output)]) == 0
    scan = examine(build_config([read_config(output)]).data)
    assert {one.subset.place.name: one.repeats for one in scan.pictures} == {"a": 1, "b": 1.33}


def test_a_fraction_of_regularisation_pictures_counts_as_a_whole(tmp_path: Path) -> None:
    root = _pictures(tmp_path, {"a": 4, "reg": 9})
    tables = [
        {"image_dir": str(root / "a"), "multiply": 1.3},
        {"image_dir": str(root / "reg"), "is_reg": True, "multiply": 0.5},
    ]
    config = build_config([OptionSource("test", {"subsets": tables, "resolution": 32})])
    regular = [one for one in examine(config.data).pictures if one.is_reg]
    assert sum(one.repeats for one in regular) == 6  # 4 * 1.3 = 5.2 training samples


def test_nested_folders_are_taken_by_init_and_doctor_with_the_ending_of_their_captions(
    tmp_path: Path,
) -> None:
    root = _pictures(tmp_path, {"1_a/b": 2, "c": 1})
    for caption in root.rglob("*.txt"):
        caption.rename(caption.with_suffix(".caption"))
    (root / "c" / "multiply.txt").write_text("3")
    assert options_for(root) == {
        "train_data_dir": root.resolve().as_posix(),
        "caption_extension": ".caption",
    }


@pytest.mark.parametrize("value", [0, -1, float("nan"), 1e9])
def test_multiply_out_of_range_is_refused(value: float) -> None:
    from lycoris_ext.errors import ConfigError

    with pytest.raises(ConfigError, match="multiply"):
        build_config([OptionSource("t", {"subsets": [{"image_dir": "a", "multiply": value}]})])
