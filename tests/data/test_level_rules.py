"""Rules by folder level: read, applied to captions when they are read, and told where they err."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext.data import DataConfig, examine, open_training_set, scan_folders
from lycoris_ext.data.captions import CaptionOptions
from lycoris_ext.data.field_files import field_file
from lycoris_ext.data.level_rules import LevelRule, LevelRules, PlaceBelow, read_level_rules
from lycoris_ext.data.tag_edits import edited
from lycoris_ext.errors import ConfigError
from tests.tiny_pictures import write_picture

LEAVES = (
    "1_characters~fanart~Anis",
    "1_characters~screenshots~Anis+Tilty",
    "2_artists~kantoku",
)
RULES = """
[screenshots]
add_first = ["aniscreen", "sharp"]

[FANART]
remove = ["aniscreen", "low*"]
add = "fan art"

["characters~*~anis"]
add = ["alone"]

[tilty]
add = "together"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for leaf in LEAVES:
        (root / leaf).mkdir(parents=True)
        for number in range(2):
            write_picture(root / leaf / f"{number}.png", number)
            (root / leaf / f"{number}.txt").write_text("1girl, lowres, Fan_Art")
    return root


def rules_of(folder: Path, text: str) -> str:
    file = folder.parent / "rules.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def config(folder: Path, text: str, **options: Any) -> DataConfig:
    return DataConfig(
        **{"train_data_dir": str(folder), "resolution": 32}
        | options
        | {"level_rules": rules_of(folder, text)}
    )


def captions(folder: Path, text: str, **options: Any) -> dict[str, str]:
    found = scan_folders(config(folder, text, **options)).pictures
    return {one.folder.partition("_")[2]: one.caption for one in found}


def told(folder: Path, text: str, **options: Any) -> list[str]:
    found = examine(config(folder, text, **options), open_pictures=False).findings
    return [one.line() for one in found if one.code == "LX070"]


def test_rules_change_the_captions_of_their_levels_alone(folder: Path) -> None:
    assert captions(folder, RULES) == {
        "characters~fanart~Anis": "1girl, Fan_Art, alone",
        "characters~screenshots~Anis+Tilty": "aniscreen, sharp, 1girl, lowres, Fan_Art, together",
        "artists~kantoku": "1girl, lowres, Fan_Art",
    }
    assert {file.read_text() for file in folder.rglob("*.txt")} == {"1girl, lowres, Fan_Art"}


def test_added_tags_count_among_those_that_keep_their_place(folder: Path) -> None:
    text = '[screenshots]\nadd_first = "aniscreen"\nadd = "end"'
    options = {"keep_tokens": 1, "caption_mode": "trigger"}
    assert captions(folder, text, **options)["characters~screenshots~Anis+Tilty"] == "aniscreen"
    marked = {"keep_tokens_separator": "lowres"}
    assert captions(folder, text, **marked)["characters~screenshots~Anis+Tilty"] == (
        "aniscreen, 1girl lowres Fan_Art, end"
    )


def test_a_subset_has_rules_of_its_own_and_regularisation_none(folder: Path) -> None:
    file = rules_of(folder, '["*"]\nadd = "x"')
    place = str(folder / LEAVES[0])
    tables = [
        {"image_dir": place, "level_rules": file},
        {"image_dir": place},
        {"image_dir": place, "level_rules": file, "is_reg": True},
    ]
    found = scan_folders(DataConfig(subsets=tables, resolution=32)).pictures
    assert [one.caption.endswith(", x") for one in found] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]


def test_a_caption_of_which_nothing_is_left_is_missing(folder: Path) -> None:
    text = '[fanart]\nremove = "*"'
    found = examine(config(folder, text), open_pictures=False)
    assert [len(one.where) for one in found.findings if one.code == "LX009"] == [2]
    allowed = captions(folder, text, allow_missing_captions=True)
    assert allowed["characters~fanart~Anis"] == ""


def test_captions_that_folders_give_get_the_tags_too(folder: Path) -> None:
    for file in folder.rglob("*.txt"):
        file.unlink()
    text = '[fanart]\nadd = "x"'
    assert captions(folder, text, allow_missing_captions=True)["characters~fanart~Anis"] == (
        "characters~fanart~Anis, x"
    )


def test_tags_that_are_added_to_fields_are_always_shown(folder: Path) -> None:
    for picture in folder.rglob("*.png"):
        field_file(picture).write_text(json.dumps({"characters": "a", "tags": ["lowres", "b"]}))
    text = '["*"]\nremove = "lowres"\nadd_first = ["x", "y"]\nadd = ["b", "z"]'
    fields = ["character:0.5", "tags:0.5"]
    training_set = open_training_set(config(folder, text, caption_fields=fields), seed=2)
    seen = {training_set.batch_at(number).captions[0] for number in range(200)}
    assert seen == {"x, y, b, z", "x, y, a, b, z"}  # b, too, which one of the fields has
    assert training_set.pictures[0].caption == "x, y, a, b, z"
    certain = ["character", "tags"]
    assert captions(folder, text, caption_fields=certain)["artists~kantoku"] == "x, y, a, b, z"


def test_the_fingerprint_hashes_what_rules_do_and_not_where_they_stand(folder: Path) -> None:
    def prints(name: str, text: str) -> str:
        file = folder.parent / name
        file.write_text(text)
        table = {"image_dir": str(folder / LEAVES[0]), "level_rules": str(file)}
        return open_training_set(DataConfig(subsets=[table], resolution=32), seed=1).fingerprint

    first = prints("one.toml", '[fanart]\nadd = "x"')
    assert prints("two.toml", '["fan*"]\nadd = "x"') == first
    assert prints("one.toml", '[fanart]\nadd = "y"') != first
    plain = open_training_set(DataConfig(train_data_dir=str(folder), resolution=32), seed=1)
    useless = open_training_set(config(folder, '[other]\nadd = "x"'), seed=1)
    assert useless.fingerprint == plain.fingerprint


def test_a_rule_that_fits_no_folder_is_told_with_the_levels_that_are_there(folder: Path) -> None:
    (line,) = told(folder, '[screenshot]\nadd = "a"\n[artists]\nadd = "b"')
    assert line.startswith("warning LX070: 1 rule fits no folder: ")
    assert "([screenshot])" in line and "-> the levels are Anis, Anis+Tilty, artists" in line


def test_the_tag_of_screenshots_in_the_captions_of_fanart_is_told(folder: Path) -> None:
    """The accident of the seed: pictures of all folders were captioned as screenshots."""
    text = '[screenshots]\nadd_first = "aniscreen"\n'
    assert told(folder, text) == []
    for leaf in LEAVES[:2]:
        for file in (folder / leaf).glob("*.txt"):
            file.write_text("1girl, Aniscreen")
    (line,) = told(folder, text)
    assert LEAVES[0] in line and '"aniscreen" in 2 of 2' in line
    assert LEAVES[1] not in line and LEAVES[2] not in line
    assert told(folder, text + '[fanart]\nremove = "aniscreen"') == []
    assert told(folder, text + '[fanart]\nadd = "aniscreen"') == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there are 0 rules, expected 1 to 1,000"),
        ("x = 1", "'x' is no rule"),
        ("[a]", "[a]: the rule has no tags"),
        ('[a]\nad = "x"', "'ad' is unknown"),
        ("[a]\nadd = 3", "[a]: add is 3, expected a tag or a list of tags"),
        ('[a]\nadd = ["x", " "]', "add is ['x', ' ']"),
        ('[a]\nadd = "x\\ny"', "add is 'x\\ny'"),
        ('[a]\nadd = "x\\u0000y"', "add is 'x\\x00y'"),
        ("[a", "the rules are no TOML"),
        ("".join(f'[a{n}]\nadd = "x"\n' for n in range(1001)), "there are 1,001 rules"),
    ],
)
def test_wrong_rules_are_told_with_their_file(folder: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        captions(folder, text)
    assert message in str(caught.value) and "rules.toml" in str(caught.value)


def test_all_wrong_rules_are_told_at_once(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        captions(folder, '[a]\nad = "x"\nremove = 3\n[b]\nadd = []')
    assert all(word in str(caught.value) for word in ("write add", "remove is 3", "[b]: the rule"))


@pytest.mark.parametrize("raw", [b"\xff\xfe[", None])
def test_files_that_cannot_be_read_are_told(folder: Path, raw: bytes | None) -> None:
    file = folder.parent / "rules.toml"
    if raw is not None:
        file.write_bytes(raw)
    with pytest.raises(ConfigError) as caught:
        scan_folders(DataConfig(train_data_dir=str(folder), resolution=32, level_rules=str(file)))
    assert str(file) in str(caught.value)


tag = st.sampled_from(["a", "b", "A", "long hair", "long_hair", "c"])
tags = st.lists(tag, max_size=4)
tables = st.dictionaries(
    st.sampled_from(["a", "b", "x", "y", "a~x", "*", "?", "b~*", "1", "a~x~1+2"]),
    st.fixed_dictionaries({}, optional={"add": tags, "add_first": tags, "remove": tags}).filter(
        lambda rule: any(rule.values())
    ),
    min_size=1,
)
places = st.sampled_from(["3_a~x~1", "3_a~x~1+2", "1_b", "1_b~y", "x"])


def read(place: Path, content: dict[str, Any]) -> LevelRules:
    lines = []
    for level, rule in content.items():
        lines += [f"[{json.dumps(level)}]"]
        lines += [f"{name} = {json.dumps(value)}" for name, value in rule.items()]
    (place / "made.toml").write_text("\n".join(lines))
    return read_level_rules(place / "made.toml")


@given(content=tables, folder=places, before=tags)
def test_what_rules_leave_is_what_the_file_says(
    tmp_path_factory: pytest.TempPathFactory,
    content: dict[str, Any],
    folder: str,
    before: list[str],
) -> None:
    rules = read(tmp_path_factory.getbasetemp(), content)
    place = PlaceBelow(Path("r"), Path("r") / folder)
    after = edited(", ".join(before), CaptionOptions(), [rules], place).split(", ")

    def alike(one: str) -> str:
        return one.lower().replace("_", " ")

    expected = list(before)
    for rule in rules.fitting(place):
        said = content[rule.level]
        gone = set(map(alike, said.get("remove", [])))
        expected = [one for one in expected if alike(one) not in gone]
        front: list[str] = []
        for one in reversed(said.get("add_first", [])):
            if alike(one) not in map(alike, [*front, *expected]):
                front.insert(0, one)
        expected = front + expected
        for one in said.get("add", []):
            if alike(one) not in map(alike, expected):
                expected.append(one)
    assert [one for one in after if one] == expected


@given(folder=places, before=tags)
def test_levels_concepts_and_rows_of_levels_are_found(folder: str, before: list[str]) -> None:
    place = PlaceBelow(Path("r"), Path("r") / folder)
    levels = folder.partition("_")[2].split("~") if "_" in folder else [folder]
    assert place.levels == tuple(levels)
    fits = {
        "a": "a" in levels,
        "1": any("1" in level.split("+") for level in levels[-1:]),
        "a~x": levels[:2] == ["a", "x"],
        "x~1*": levels[1:2] == ["x"],
        "a~1": False,
        "*": True,
    }
    assert {name: LevelRule(name, ()).fits(place) for name in fits} == fits
