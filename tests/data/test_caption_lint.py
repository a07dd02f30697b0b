"""Captions that are misnamed, equal, spelt in several ways or lack the trigger are told."""

from __future__ import annotations

import pytest

from lycoris_ext.data import DataConfig, TokenLimit, examine
from lycoris_ext.errors import ConfigError
from tests.tiny_pictures import write_picture


@pytest.fixture
def told(tmp_path):
    """Write pictures with these captions into one folder; return code -> finding."""

    def examined(captions, **more):
        for number, caption in enumerate(captions):
            path = tmp_path / f"{number:03d}.png"
            if not path.exists():
                write_picture(path, number)
            path.with_suffix(".txt").write_text(caption, encoding="utf-8")
        limit = more.pop("limit", None)
        config = DataConfig(image_dir=str(tmp_path), resolution=32, **more)
        found = examine(config, open_pictures=False, token_limit=limit).findings
        return {one.code: one for one in found}

    return examined


def test_usual_captions_are_not_told(told):
    tags = "1girl, solo, long hair", "1girl, smile, short hair", "2girls, skirt, hand up", "cup, :d"
    texts = [f"{tags[number % 4]}, number {number}" for number in range(40)]
    texts += ["1girl, shirt, hands up, :D", "2girls, skirts", "no humans, skirt"]
    assert told(texts) == {}


def test_captions_without_a_picture_are_told_and_other_text_files_are_not(told, tmp_path):
    for name in ("b.txt", "readme.txt", "LICENSE.txt", "notes.md", "001.png.txt", "c.caption"):
        (tmp_path / name).write_text("x", encoding="utf-8")
    found = told(["a", "b"])
    assert [path.name for path, _ in found["LX045"].where] == ["b.txt"]
    (tmp_path / "b.txt").unlink()
    assert told(["a", "b"]) == {}


def test_tags_that_differ_in_capitals_spaces_and_underscores_are_told_with_their_numbers(told):
    found = told(["long hair, a1", "long hair, b2", "Long_Hair, c3"])
    assert '"long hair" (2) = "Long_Hair" (1)' in found["LX046"].what


def test_a_letter_and_its_capital_are_two_tags(told):
    texts = [f"the letter {letter}" for letter in ("a", "A", "b.", "B.")]
    assert told([*texts, "A cat", "dog"]) == {}
    assert '"A cat" (1) = "a cat" (1)' in told([*texts, "A cat", "a cat"])["LX046"].what


@pytest.mark.parametrize("slip", ["looking at veiwer", "looking at viewr", "lookking at viewer"])
def test_a_slip_of_the_pen_is_told_beside_the_frequent_tag(told, slip):
    texts = [f"looking at viewer, {number}" for number in range(60)]
    found = told(["cat", *texts, f"dog, {slip}"])
    assert f'"looking at viewer" (60) = "{slip}" (1)' in found["LX046"].what


@pytest.mark.parametrize(
    "other", ["looking at viewers", "booking at viewer", "2 looking at viewer"]
)
def test_another_word_is_no_slip(told, other):
    texts = [f"cat {number}, looking at viewer" for number in range(60)]
    assert "LX046" not in told([*texts, other])


def test_a_forgotten_trigger_is_told_by_file(told):
    found = told([*(f"sks, cup {number}" for number in range(19)), "cup"])
    assert [path.name for path, _ in found["LX047"].where] == ["019.png"]
    assert '"sks"' in found["LX047"].what and "1 of 20" in found["LX047"].what


def test_the_count_of_people_is_no_trigger(told):
    assert told([*(f"1girl, cup {number}" for number in range(19)), "1boy"]) == {}


def test_equal_captions_are_told_from_ten_on(told):
    assert told(["sks"] * 9) == {}
    found = told(["sks"] * 10)
    assert found["LX048"].where[0].detail == '"sks"'


@pytest.mark.parametrize(
    ("word", "ids", "said"),
    [
        ("cat", [2368], "a meaning of its own"),
        ("sks", [48136], ""),
        ("kantoku", [1, 2, 3], ""),
        ("qxz", [1, 2, 3], "3 pieces"),
        ("abcdefghijkl", [1, 2, 3, 4, 5], "5 pieces"),
        ("by me", [2, 3], ""),
    ],
)
def test_triggers_that_are_ordinary_or_split_badly_are_told(told, word, ids, said):
    limit = TokenLimit(len, 225, clip_ids=lambda text: ids)
    found = told([f"{word}, cup {number}" for number in range(12)], limit=limit)
    assert (said in found["LX057"].what) if said else ("LX057" not in found)


def test_the_option_silence_leaves_out_warnings_and_notes_but_no_error(told):
    captions = ["sks"] * 10 + [""]
    assert told(captions, silence=["lx048", "LX009"]).keys() == {"LX009"}
    assert told(captions).keys() == {"LX009", "LX048"}
    with pytest.raises(ConfigError, match="there is no code 'LX999'"):
        told(captions, silence=["LX999"])
