"""Folders, concepts and tags that do not fit their neighbours are told, and others are not."""

from __future__ import annotations

import pytest

from lycoris_ext.data import DataConfig, examine
from lycoris_ext.data.scan import read_folders
from tests.tiny_pictures import write_picture

LEAVES = {
    "1_characters~fanart~Anisphia": 4,
    "1_characters~fanart~Mahiro+Mihari": 4,
    "1_characters~screenshots~Anisphia": 4,
    "1_characters~screenshots~Mahiro": 4,
    "1_characters~screenshots~Mihari": 4,
    "1_artists~kantoku": 6,
}


@pytest.fixture
def told(tmp_path):
    """Write folders with captioned pictures; return code -> findings."""

    def examined(leaves, caption=lambda folder, number: f"{folder} {number}, cat"):
        for folder, pictures in leaves.items():
            (tmp_path / folder).mkdir()
            for number in range(pictures):
                write_picture(tmp_path / folder / f"{number}.png", number)
                text = caption(folder, number)
                (tmp_path / folder / f"{number}.txt").write_text(text, encoding="utf-8")
        found = examine(DataConfig(train_data_dir=str(tmp_path), resolution=32)).findings
        return {one.code: one for one in found if one.code > "LX045"}

    return examined


def test_a_balanced_tree_with_its_own_tags_is_not_told(told):
    def caption(folder, number):
        return f"{number}, anime, " + ("aniscreen" if "screenshots" in folder else "fanart")

    assert told(LEAVES, caption) == {}


def test_the_tag_of_screenshots_is_found_in_exactly_the_fanart(told):
    found = told(LEAVES, lambda folder, number: f"{number}, anime, aniscreen")["LX049"]
    assert {path.name for path, _ in found.where} == {
        "1_characters~fanart~Anisphia",
        "1_characters~fanart~Mahiro+Mihari",
    }
    assert '"aniscreen"' in found.what and "screenshots" in found.what


def test_a_folder_shown_far_more_than_those_beside_it_is_told(told):
    found = told({"1_a~x": 4, "1_a~y": 4, "6_a~z": 4, "4_b": 9})["LX055"]
    assert [(path.name, detail) for path, detail in found.where] == [
        ("6_a~z", "samples an epoch: 24, usually 4")
    ]


def test_of_two_folders_the_rarer_one_is_told_and_one_figure_is_usual_for_all(told):
    found = told({"1_a": 1, "12_b": 2})["LX055"]
    assert [(path.name, detail) for path, detail in found.where] == [
        ("1_a", "samples an epoch: 1, usually 24")
    ]


def test_the_usual_number_is_the_same_for_all_folders_of_a_level(told):
    sizes = {"1_a": 1, "1_b": 1, "2_c": 1, "12_d": 1, "14_e": 1, "40_f": 1}
    details = {detail.partition(", ")[2] for _, detail in told(sizes)["LX055"].where}
    assert details == {"usually 12"}


def test_folders_of_one_size_and_repeats_that_even_sizes_out_are_not_told(told):
    assert told({"12_a": 1, "4_b": 3, "1_c": 12, "reg": 0}) == {}


def test_a_concept_in_one_domain_is_told_where_most_are_in_several(told):
    found = told({**LEAVES, "1_characters~screenshots~Anisphia+Tilty": 4})["LX056"]
    assert "Tilty only in screenshots" in found.what and "Mahiro" not in found.what


def test_concepts_that_all_have_a_domain_of_their_own_are_not_told(told):
    assert told({"1_people~Ann": 3, "1_people~Bob": 3, "1_things~cup": 4, "1_things~hat": 3}) == {}


def test_names_that_differ_in_capitals_alone_are_told(told):
    found = told({"1_fanart~Tilty": 3, "1_Screenshots~tilty": 3, "1_Screenshots~Ann": 3})["LX058"]
    assert '"Tilty", "tilty"' in found.what or '"tilty", "Tilty"' in found.what


def test_sub_folders_that_are_subsets_themselves_are_not_told_to_be_left_out(tmp_path):
    (tmp_path / "in").mkdir()
    for folder in (tmp_path, tmp_path / "in"):
        write_picture(folder / "a.png")
        (folder / "a.txt").write_text("x", encoding="utf-8")
    both = [{"image_dir": str(tmp_path)}, {"image_dir": str(tmp_path / "in")}]
    assert "LX007" not in codes(subsets=both)
    assert "LX007" in codes(subsets=both[:1])


def codes(**options):
    scan = examine(DataConfig(**options, resolution=32))
    assert scan.pictures == read_folders(scan.config).pictures
    return [one.code for one in scan.findings]
