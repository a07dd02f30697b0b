"""Regularisation pictures: how many an epoch shows, and how batches mark them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext.data import DataConfig, open_training_set, scan_folders
from lycoris_ext.data.regularisation import match_repeats
from lycoris_ext.errors import DataError
from tests.tiny_pictures import write_picture, write_pictures

ORACLE = json.loads(
    (Path(__file__).parents[1] / "oracles" / "sd_scripts_data.json").read_text("utf-8")
)


@pytest.fixture
def both(tmp_path):
    """Write six training pictures, shown twice an epoch, and three of a class without captions."""
    write_pictures(tmp_path / "train")
    folder = tmp_path / "reg" / "1_a shape"
    folder.mkdir(parents=True)
    for number in range(3):
        write_picture(folder / f"{number}.png", number=50 + number)
    return tmp_path


def config(both, **options):
    folders = {"train_data_dir": str(both / "train"), "reg_data_dir": str(both / "reg")}
    return DataConfig(**{**folders, "resolution": 32, "train_batch_size": 4, **options})


@pytest.mark.parametrize("case", ORACLE["regularisation"])
def test_repeats_of_regularisation_pictures_are_those_of_sd_scripts(case):
    assert match_repeats(case["repeats"], case["wanted"]) == case["matched"]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=30), st.integers(1, 500))
def test_an_epoch_has_as_many_regularisation_pictures_as_are_wanted(repeats, wanted):
    matched = match_repeats(repeats, wanted)
    assert sum(matched) >= wanted
    assert sum(matched) - wanted < max(repeats)
    assert all(new >= old for new, old in zip(matched, repeats, strict=False))


def test_a_regularisation_picture_without_caption_has_the_class_of_its_folder(both):
    pictures = scan_folders(config(both)).pictures
    regular = [picture for picture in pictures if picture.is_reg]
    assert [picture.caption for picture in regular] == ["a shape"] * 3
    assert [picture.repeats for picture in regular] == [4, 4, 4]
    assert pictures[-3:] == tuple(regular)
    (both / "reg" / "1_a shape" / "1.txt").write_text("a round shape", encoding="utf-8")
    captions = [picture.caption for picture in scan_folders(config(both)).pictures[-3:]]
    assert captions == ["a shape", "a round shape", "a shape"]


def test_regularisation_pictures_beyond_those_needed_are_left_out_with_a_note(both):
    for number in range(3, 20):
        write_picture(both / "reg" / "1_a shape" / f"{number:02d}.png", number)
    scan = scan_folders(config(both))
    assert sum(picture.is_reg for picture in scan.pictures) == 12
    (finding,) = scan.findings
    assert (finding.code, finding.severity, len(finding.where)) == ("LX017", "note", 8)
    assert "8 of 20 regularisation pictures are not used" in finding.what
    assert "12 training pictures of an epoch at 32x32 pixels" in finding.what


def test_batches_say_which_rows_are_regularisation(both):
    training_set = open_training_set(config(both), seed=3)
    assert training_set.samples_per_epoch == 24
    assert training_set.reg_samples_per_epoch == 12

    shown = Counter()
    mixed = 0
    for number in range(training_set.batches_per_epoch):
        plan = training_set.batch_at(number)
        expected = tuple("1_a shape" in str(path) for path in training_set.files(plan))
        assert plan.is_reg == expected
        shown.update(expected)
        mixed += 0 < sum(expected) < len(expected)
    assert shown == {True: 12, False: 12}
    assert mixed > 0


def test_regularisation_is_counted_apart_and_changes_the_fingerprint(both):
    training_set = open_training_set(config(both), seed=0)
    assert training_set.folder_counts() == {"2_shapes": {"n_repeats": 2, "img_count": 6}}
    assert training_set.folder_counts(is_reg=True) == {
        "1_a shape": {"n_repeats": 4, "img_count": 3}
    }
    alone = open_training_set(config(both, reg_data_dir=""), seed=0)
    # Neither the pictures nor their noise move when regularisation is added.
    assert training_set.pictures[:6] == alone.pictures
    write_picture(both / "reg" / "1_a shape" / "0.png", number=99)
    prints = {open_training_set(config(both), seed=0).fingerprint, training_set.fingerprint}
    assert len(prints | {alone.fingerprint}) == 3


def test_faults_of_a_regularisation_folder_name_reg_data_dir(both):
    with pytest.raises(DataError, match="does not exist") as caught:
        scan_folders(config(both, reg_data_dir=str(both / "none")))
    assert "check reg_data_dir" in str(caught.value)
    with pytest.raises(DataError, match="3 pictures lie directly in") as caught:
        scan_folders(config(both, reg_data_dir=str(both / "reg" / "1_a shape")))
    assert f"reg_data_dir is the PARENT folder: set it to {both / 'reg'}" in str(caught.value)
    for number in range(4):
        write_picture(both / "reg" / f"loose{number}.png", 30 + number)
    with pytest.raises(DataError, match="4 pictures lie directly in") as caught:
        scan_folders(config(both))
    assert "10_reg" in str(caught.value) and "image_dir" not in str(caught.value)
