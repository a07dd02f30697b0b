"""What changed in a data set since a run began is named picture by picture."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext.data import DataConfig, open_training_set
from lycoris_ext.data.fingerprint import changes
from tests.tiny_pictures import write_picture


@pytest.fixture
def hashes(pictures):
    """Return the hashes of the data set as it is now."""

    def read(**options):
        return open_training_set(DataConfig(**options, resolution=32), 0).hashes

    return read


def test_changed_new_and_missing_pictures_and_captions_are_named(pictures, hashes):
    folder = pictures / "2_shapes"
    before = hashes(train_data_dir=str(pictures))
    assert changes(before, before) == []
    write_picture(folder / "00.png", 50)
    (folder / "01.txt").write_text("other", encoding="utf-8")
    write_picture(folder / "02.png", 51)
    (folder / "02.txt").write_text("both", encoding="utf-8")
    (folder / "03.png").unlink()
    write_picture(folder / "99.png", 52)
    (folder / "99.txt").write_text("new", encoding="utf-8")
    assert changes(before, hashes(train_data_dir=str(pictures))) == [
        "2_shapes/00.png: the picture changed",
        "2_shapes/01.png: its caption changed",
        "2_shapes/02.png: the picture and its caption changed",
        "2_shapes/03.png: is gone",
        "2_shapes/99.png: is new",
    ]


def test_changed_options_of_a_folder_are_told_of_its_pictures(pictures, hashes):
    folder = str(pictures / "2_shapes")
    before = hashes(subsets=[{"image_dir": folder}])
    now = hashes(subsets=[{"image_dir": folder, "keep_tokens": 1}])
    assert changes(before, now)[0] == "00.png: its repeats or options changed"
    assert len(changes(before, now)) == 6


def test_pictures_of_the_same_name_in_two_folders_are_told_apart(pictures, hashes):
    folder = str(pictures / "2_shapes")
    both = [{"image_dir": folder}, {"image_dir": folder, "resolution": 64}]
    found = hashes(subsets=both)
    assert len(found) == 12 and "00.png (2)" in found


def test_a_hash_takes_16_characters_of_the_state(pictures, hashes):
    assert {len(value) for value in hashes(train_data_dir=str(pictures)).values()} == {16}


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
def test_a_file_name_that_is_no_text_can_be_stored(pictures, hashes):
    folder = os.fsencode(pictures / "2_shapes")
    os.rename(folder + b"/00.png", folder + b"/\xff.png")
    os.rename(folder + b"/00.txt", folder + b"/\xff.txt")
    names = hashes(train_data_dir=str(pictures))
    assert "".join(names).encode("utf-8") and "2_shapes/\\udcff.png" in names


@given(*[st.dictionaries(st.sampled_from("abcde"), st.sampled_from(["0" * 16, "1" * 16]))] * 2)
def test_exactly_the_pictures_that_differ_are_named(before, after):
    differing = {name for name in "abcde" if before.get(name) != after.get(name)}
    told = changes(before, after)
    assert {Path(line).name[0] for line in told} == differing and len(told) == len(differing)
