"""Copies of pictures and odd tags are told, and trained as they are."""

from __future__ import annotations

import os
import shutil

import pytest

from lycoris_ext.data import DataConfig, TokenLimit, examine
from tests.tiny_pictures import write_pictures


def told(pictures, *, weighted=False, **options):
    config = DataConfig(train_data_dir=str(pictures), resolution=32, **options)
    found = examine(config, token_limit=TokenLimit(len, 225, weighted=weighted)).findings
    return {finding.code: finding for finding in found}


@pytest.fixture
def caption(pictures):
    """Write captions into the first files of the data set; returns the data set."""

    def write(*texts):
        for number, text in enumerate(texts):
            (pictures / "2_shapes" / f"{number:02d}.txt").write_text(text, encoding="utf-8")
        return pictures

    return write


def test_repeated_and_empty_tags_are_told_once_and_trained_as_they_are(caption):
    pictures = caption("coffee, cup, cup, , table,,spoon,", "red,, blue", "red, blue,")
    (finding,) = told(pictures).values()
    assert (finding.code, finding.severity) == ("LX023", "note")
    assert finding.what.startswith("2 captions have tags twice or empty")
    assert [location.detail for location in finding.where] == [
        '"cup" twice',
        "nothing before comma 2",
    ]
    assert finding.text().count('"cup" twice') == 1
    config = DataConfig(train_data_dir=str(pictures))
    scan = examine(config, open_pictures=False)
    assert scan.pictures[0].caption == "coffee, cup, cup, , table,,spoon,"


def test_the_tags_are_those_between_the_options_separator(caption):
    assert not told(caption("red; blue; a,, b"), caption_separator=";")


def test_weights_are_told_to_be_plain_text(caption):
    texts = "(red hair:1.2), smile", "(blue: .5)", "saber_(fate), ratio (3:x)"
    (finding,) = told(caption(*texts)).values()
    assert (finding.code, finding.severity) == ("LX024", "note")
    assert [location.detail for location in finding.where] == ["(red hair:1.2)", "(blue: .5)"]
    assert finding.what == "2 captions hold weights, which are read as plain text"


def test_underscores_of_booru_tags_are_told(caption):
    (finding,) = told(caption("1girl, long_hair, ^_^", "saber_(fate), o_o")).values()
    assert (finding.code, finding.severity) == ("LX025", "note")
    assert [location.detail for location in finding.where] == ["long_hair", "saber_(fate)"]


def test_a_trigger_word_with_an_underscore_is_nothing_to_tell(caption):
    assert not told(caption(*(f"my_style, red, {number}" for number in range(6))))


def test_copies_of_a_picture_are_counted_and_named(pictures):
    folder = pictures / "2_shapes"
    for name in ("copy", "again"):
        shutil.copy(folder / "03.png", folder / f"{name}.png")
        shutil.copy(folder / "03.txt", folder / f"{name}.txt")
    (finding,) = told(pictures).values()
    assert (finding.code, finding.severity) == ("LX019", "warning")
    assert "2 pictures are copies of another one" in finding.what
    assert [(path.name, detail) for path, detail in finding.where] == [
        ("03.png", "has 2 copies here"),
        ("again.png", "the same as 03.png"),
        ("copy.png", "the same as 03.png"),
    ]


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_a_link_to_another_picture_is_a_copy(pictures):
    (pictures / "2_shapes" / "zlink.png").symlink_to(pictures / "2_shapes" / "00.png")
    shutil.copy(pictures / "2_shapes" / "00.txt", pictures / "2_shapes" / "zlink.txt")
    (finding,) = told(pictures).values()
    assert "1 picture is a copy of another one and counts as often again" in finding.what
    assert [path.name for path, _ in finding.where] == ["00.png", "zlink.png"]


def test_a_copy_of_the_same_name_in_another_folder_is_told_with_that_folder(pictures):
    (pictures / "1_more").mkdir()
    for name in ("00.png", "00.txt"):
        shutil.copy(pictures / "2_shapes" / name, pictures / "1_more" / name)
    details = [detail for _, detail in told(pictures)["LX019"].where]
    assert details == ["has 1 copy here", "the same as 1_more/00.png"]


def test_the_same_folder_in_two_subsets_holds_no_copies(tmp_path):
    folder = write_pictures(tmp_path) / "2_shapes"
    twice = [{"image_dir": str(folder)}, {"image_dir": str(folder), "resolution": 40}]
    assert examine(DataConfig(subsets=twice, resolution=32)).findings == ()
