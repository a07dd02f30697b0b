"""Captions built of the fields in a JSON file beside the picture, each drawn with its chance."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext.data import DataConfig, examine, open_training_set, scan_folders
from lycoris_ext.data.caption_fields import FIELDS, Field, drawn, joined_fields, wanted_fields
from lycoris_ext.data.caption_forms import longest_forms
from lycoris_ext.data.caption_sets import set_file
from lycoris_ext.data.captions import CaptionOptions, caption_for
from lycoris_ext.data.field_files import field_file, read_fields
from lycoris_ext.errors import ConfigError, DataError
from tests.tiny_pictures import write_picture

CONTENT: dict[str, Any] = {
    "npeople": 2,
    "characters": ["Anisphia", "Tilty|_frown|red  dress+boots|none|umbrella", "unknown"],
    "copyright": ["tenten", "other"],
    "type": "aniscreen",
    "artist": ["anonymous", "kantoku"],
    "rating": "e",
    "crop": {"type": "head"},
    "tags": {"1girl": 0.99, "long_hair": 0.5},
    "processed_tags": ["1girl", "long hair"],
    "image_size": [1, 2],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures with fields and with captions of their own."""
    place = tmp_path / "3_fanart~Anisphia"
    place.mkdir()
    for number, name in enumerate("ab"):
        write_picture(place / f"{name}.png", number)
        (place / f"{name}.txt").write_text("own")
        write_fields(place / f"{name}.png", characters=name, tags=["1girl", "solo"])
    return place


def write_fields(picture: Path, **content: Any) -> None:
    field_file(picture).write_text(json.dumps(content), encoding="utf-8")


def config(folder: Path, *fields: str, **options: Any) -> DataConfig:
    return DataConfig(
        **{"train_data_dir": str(folder.parent), "resolution": 32, "caption_fields": fields}
        | options
    )


def captions(folder: Path, *fields: str, **options: Any) -> list[str]:
    return [one.caption for one in scan_folders(config(folder, *fields, **options)).pictures]


def made(tmp_path: Path, *fields: str, mark: str = "", **content: Any) -> str:
    picture = tmp_path / "a.png"
    write_fields(picture, **content)
    return joined_fields(
        read_fields(field_file(picture), wanted_fields(fields, mark), ", "), ", ", mark
    )


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("npeople", "2people"),
        ("character", "Anisphia, Tilty_frown, red dress boots, umbrella"),
        ("copyright", "from tenten, other"),
        ("image_type", "aniscreen"),
        ("artist", "by kantoku"),
        ("rating", "explicit"),
        ("crop_info", "head cropped"),
        ("tags", "1girl, long hair"),
        ("type", "aniscreen"),
        ("Characters ", "Anisphia, Tilty_frown, red dress boots, umbrella"),
    ],
)
def test_each_field_has_the_words_of_the_pipeline(tmp_path: Path, field: str, text: str) -> None:
    assert made(tmp_path, field, **CONTENT) == text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"npeople": 1, "rating": "general", "crop": True}, "1person, cropped"),
        ({"characters": "A|sad", "artist": "unknown", "copyright": []}, "A sad"),
        ({"characters": "A?b|none|none", "tags": {"x": 1, " y\n z ": 2}}, "A_b, x, y z"),
        ({"processed_tags": [], "tags": ["x"]}, ""),
        ({"type": None, "npeople": 0}, ""),
    ],
)
def test_a_field_of_which_nothing_is_left_adds_nothing(
    tmp_path: Path, content: dict[str, Any], text: str
) -> None:
    assert made(tmp_path, *FIELDS, **content) == text


def test_fields_stand_in_the_order_of_the_option(tmp_path: Path) -> None:
    order = ("tags", "rating:0", "artist", "type:0.001")
    assert made(tmp_path, *order, **CONTENT) == "1girl, long hair, by kantoku, aniscreen"


def test_the_mark_stands_before_the_tags_or_where_it_is_named(tmp_path: Path) -> None:
    told = {"mark": "|||", **CONTENT}
    assert made(tmp_path, "artist", "tags", **told) == "by kantoku ||| 1girl, long hair"
    assert made(tmp_path, "type", "|||", "tags", "artist", **told) == (
        "aniscreen ||| 1girl, long hair, by kantoku"
    )
    assert made(tmp_path, "artist", **told) == "by kantoku"
    assert made(tmp_path, "artist", "tags", mark="|||", tags=["x"]) == "||| x"
    assert made(tmp_path, "artist", "tags", mark="|||", artist="x") == "by x |||"


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        (["charakter"], "caption_fields names 'charakter'"),
        (["tags:2"], "tags with the chance '2'"),
        (["tags:"], "tags with the chance ''"),
        (["tags:nan"], "tags with the chance 'nan'"),
        (["crop", "crop_info:0.5"], "crop_info twice"),
        (["|||", "tags"], "'|||'"),
    ],
)
def test_wrong_entries_are_told(entries: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        CaptionOptions(caption_fields=entries)
    assert told in str(caught.value)


def test_all_wrong_entries_are_told_at_once_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError) as caught:
        CaptionOptions(caption_fields=["charakter", "tags:2", "tags"])
    assert "charakter" in str(caught.value) and "chance '2'" in str(caught.value)
    assert 'write "character"' in str(caught.value)


names = st.sampled_from(FIELDS)
chances = st.floats(0, 1)


@given(
    st.dictionaries(names, chances, min_size=1),
    st.lists(names, unique=True),
    st.integers(0, 2**31),
    st.integers(0, 1000),
)
def test_what_is_drawn_depends_on_the_fields_own_chance_alone(
    rates: dict[str, float], own: list[str], seed: int, sample: int
) -> None:
    def shown(entries: dict[str, float], there: list[str]) -> set[str]:
        wanted = wanted_fields(tuple(f"{name}:{rate!r}" for name, rate in entries.items()))
        fields = [Field(name, name) for name, _ in wanted if name in there]
        drawn_now = drawn(fields, wanted, seed, 3, sample)
        assert drawn_now == [one for one in fields if one in drawn_now]  # in their order
        return {one.name for one in drawn_now}

    everything = shown(rates, own)
    for name, rate in rates.items():
        alone = shown({name: rate}, own)
        assert alone == everything & {name}
        assert alone == ({name} & set(own) if rate == 1 else alone)
        assert rate > 0 or not alone


def test_each_field_is_shown_as_often_as_its_chance_says() -> None:
    options = CaptionOptions(caption_fields=["character", "artist:0.3", "tags:0.8"])
    fields = [Field("character", "c"), Field("artist", "a"), Field("tags", "t")]
    shown = Counter(
        caption_for("c, a, t", options, seed=5, epoch=0, sample_id=n, fields=fields)
        for n in range(10_000)
    )
    for texts, share in ((("c, a, t", "c, a"), 0.3), (("c, a, t", "c, t"), 0.8)):
        assert sum(shown[text] for text in texts) == pytest.approx(10_000 * share, abs=230)  # 5 sd
    assert shown["c, a, t"] == pytest.approx(2400, abs=215)  # the draws are independent
    assert sum(shown.values()) == sum(shown[t] for t in ("c", "c, a", "c, t", "c, a, t"))
    # Written down: a seed has to mean the same captions in every version.
    first = [
        caption_for("c, a, t", options, seed=5, epoch=e, sample_id=0, fields=fields)
        for e in range(6)
    ]
    assert first == FIRST


FIRST = ["c, a, t", "c, t", "c", "c, t", "c", "c, t"]


def test_captions_that_are_drawn_are_cached_as_variants_or_not_at_all(folder: Path) -> None:
    cached = {"cache_text_encoder_outputs": True}
    with pytest.raises(ConfigError) as caught:
        config(folder, "character", "tags:0.5", **cached)
    assert "caption_fields" in str(caught.value) and "caption_variants" in str(caught.value)
    assert config(folder, "character", "tags:0", **cached).knows_captions
    drawing = config(folder, "character:0.5", "tags:0.5", caption_variants=6, **cached)
    training_set = open_training_set(drawing, seed=1)
    numbers = range(12 * training_set.batches_per_epoch)
    seen = {text for number in numbers for text in training_set.batch_at(number).captions}
    assert seen == set(training_set.known_captions())
    assert {"a, 1girl, solo", "a"} & seen and len(seen) > 4


def test_a_resumed_run_draws_the_same_captions(folder: Path) -> None:
    drawing = config(folder, "character", "tags:0.5", train_batch_size=2)
    first, second = (open_training_set(drawing, seed=1) for _ in range(2))
    last = 5 * first.batches_per_epoch
    assert (
        second.batch_at(last).captions == [first.batch_at(n) for n in range(last + 1)][-1].captions
    )
    assert {text for n in range(last) for text in first.batch_at(n).captions} == {
        *("a", "b", "a, 1girl, solo", "b, 1girl, solo")
    }


def test_what_stands_before_the_mark_is_never_shuffled(folder: Path) -> None:
    options = {"keep_tokens_separator": "|||", "shuffle_caption": True}
    drawing = config(folder, "character", "tags:0.5", **options)
    training_set = open_training_set(drawing, seed=1)
    seen = {text for n in range(40) for text in training_set.batch_at(n).captions}
    assert seen == {
        f"{name}{tags}" for name in "ab" for tags in ("", ", 1girl, solo", ", solo, 1girl")
    }
    assert longest_forms(training_set.pictures[0].caption, drawing) == ["a, 1girl, solo"]


def test_nothing_is_written_and_without_the_option_files_are_captions(folder: Path) -> None:
    def state() -> dict[str, str]:
        files = filter(Path.is_file, folder.parent.rglob("*"))
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    before = state()
    assert captions(folder, "tags", "character") == ["1girl, solo, a", "1girl, solo, b"]
    assert captions(folder) == ["own", "own"]
    assert state() == before
    plain = open_training_set(config(folder), seed=1).fingerprint
    for name in "ab":
        field_file(folder / f"{name}.png").unlink()
    assert open_training_set(config(folder), seed=1).fingerprint == plain


def test_a_word_that_moves_to_another_field_is_another_data_set(folder: Path) -> None:
    prints = []
    for content in ({"characters": "x", "tags": ["y"]}, {"characters": ["x", "y"], "tags": []}):
        write_fields(folder / "a.png", **content)
        sets = [
            open_training_set(config(folder, "character", tags), 1) for tags in ("tags", "tags:0.5")
        ]
        assert sets[0].pictures[0].caption == "x, y"
        prints.append([one.fingerprint for one in sets])
    assert prints[0][0] == prints[1][0]
    assert prints[0][1] != prints[1][1]


def test_a_caption_set_goes_before_the_fields(folder: Path) -> None:
    file = set_file(folder / "a.png", "mine")
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    assert captions(folder, "character:0.5", caption_set="mine") == ["mine", "b"]
    found = scan_folders(config(folder, "character:0.5", caption_set="mine")).pictures
    assert [len(one.fields) for one in found] == [0, 1]


def test_the_mode_counts_for_fields_too(folder: Path) -> None:
    mode = {"keep_tokens": 1}
    assert captions(folder, "character", "tags:0.5", caption_mode="trigger", **mode) == ["a", "b"]
    assert captions(folder, "character", "tags:0.5", caption_mode="none") == ["", ""]


def test_a_metadata_file_and_fields_exclude_each_other(folder: Path) -> None:
    table = {"image_dir": str(folder), "metadata_file": "x.json", "caption_fields": ["tags"]}
    with pytest.raises(ConfigError, match="cannot be read from a metadata JSON"):
        DataConfig(subsets=[table])
    with pytest.raises(ConfigError, match="cannot be read from a metadata JSON"):
        captions(folder, "tags", in_json="x.json")


def test_pictures_without_fields_have_no_caption(folder: Path) -> None:
    field_file(folder / "a.png").unlink()
    with pytest.raises(DataError) as caught:
        captions(folder, "tags")
    assert "LX009" in str(caught.value)
    assert "1 of 2 pictures has no caption (no file such as .a_meta.json" in str(caught.value)
    with pytest.raises(DataError, match="2 of 2 pictures have no caption"):
        captions(folder, "rating")
    found = examine(config(folder, "tags", allow_missing_captions=True), open_pictures=False)
    assert [one.severity for one in found.findings if one.code == "LX009"] == ["warning"]


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"{", "is no JSON of caption fields"),
        (b"[1]", "it holds no object"),
        (b"\xff\xfe{", "it is not UTF-8"),
        (b'{"tags": 3}', '"tags" is no text and no list of texts'),
        (b'{"tags": ["\\ud800"]}', '"tags" holds something that is no text'),
        (b'{"npeople": -1}', '"npeople" is no number of people'),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"tags": "' + b"a" * 1_000_001 + b'"}', "at most 1.00 MB are read"),
    ],
)
def test_files_that_cannot_be_used_are_named_with_the_reason(
    folder: Path, raw: bytes, told: str
) -> None:
    field_file(folder / "b.png").write_bytes(raw)
    with pytest.raises(DataError) as caught:
        captions(folder, *FIELDS)
    assert "LX010" in str(caught.value)
    assert ".b_meta.json" in str(caught.value) and told in str(caught.value)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = ("npeople", "characters", "copyright", "type", "artist", "rating", "crop", "tags")


@given(content=st.dictionaries(st.sampled_from((*KEYS, "processed_tags")), json_values))
def test_whatever_a_file_holds_is_a_caption_of_one_line_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]
) -> None:
    file = tmp_path_factory.getbasetemp() / ".fuzz_meta.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    try:
        caption = joined_fields(read_fields(file, wanted_fields(FIELDS), ", "), ", ", "")
    except DataError:
        return
    assert len(caption.splitlines()) <= 1 and caption.encode("utf-8").find(b"\0") < 0


def test_a_name_too_long_for_a_file_of_fields_has_none(tmp_path: Path) -> None:
    assert (
        read_fields(field_file(tmp_path / ("a" * 250 + ".png")), wanted_fields(FIELDS), ",") == ()
    )
