"""Captions from sd-scripts' metadata JSON are those that its own code makes of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext.config import OptionSource, build_config
from lycoris_ext.data import DataConfig, examine, open_training_set
from lycoris_ext.data.metadata_file import PictureFinder, read_metadata
from lycoris_ext.errors import ConfigError, DataError
from tests.tiny_pictures import write_picture

ENTRIES = {
    "a": {"caption": "one cat", "tags": "red, blue"},
    "b.png": {"tags": "red, blue"},
    "c": {"caption": "first\nsecond", "tags": "x\ny", "train_resolution": [512, 512]},
    "e": {"caption": None, "tags": "solo"},
}
# What FineTuningDataset and process_caption of sd-scripts make of these entries.
CAPTIONS = {"a": "one cat,red, blue", "b": "red, blue", "c": "first", "e": "solo"}
WILDCARD = {"a": "one cat,red, blue", "c": "first,x,y\nsecond,x,y"}


@pytest.fixture
def folder(tmp_path):
    """A folder with the pictures of ENTRIES, a latent file and a caption file."""
    for number, name in enumerate("abce"):
        write_picture(tmp_path / f"{name}.png", number)
    (tmp_path / "a.npz").write_bytes(b"latents")
    (tmp_path / "a.txt").write_text("not this one", encoding="utf-8")
    return tmp_path


def write(path, entries):
    path.write_text(json.dumps(entries), encoding="utf-8")
    return str(path)


def examined(folder, entries=ENTRIES, **options):
    subset = {"image_dir": str(folder), "metadata_file": write(folder / "m.json", entries)}
    return examine(DataConfig(subsets=[{**subset, **options}], resolution=32))


def captions(scan):
    return {picture.path.stem: picture.caption for picture in scan.pictures}


def codes(scan):
    return [(finding.code, finding.severity) for finding in scan.findings]


def test_caption_and_tags_are_joined_as_in_sd_scripts(folder):
    scan = examined(folder, num_repeats=3)
    assert captions(scan) == CAPTIONS
    assert {picture.repeats for picture in scan.pictures} == {3}
    assert codes(scan) == [("LX011", "warning")]


def test_tags_are_added_to_each_line_that_enable_wildcard_may_draw(folder):
    scan = examined(folder, enable_wildcard=True)
    assert captions(scan) | WILDCARD == captions(scan)
    # sd-scripts of 2026 drops tags without a caption here; its older versions did not.
    assert captions(scan)["b"] == "red, blue"


def test_in_json_reads_train_data_dir_as_the_folder_of_the_pictures(folder):
    config = build_config(
        [
            OptionSource(
                "kohya.toml",
                {
                    "train_data_dir": str(folder),
                    "in_json": write(folder / "m.json", ENTRIES),
                    "num_repeats": 2,
                    "resolution": 64,
                },
            )
        ]
    )
    training_set = open_training_set(config.data, 0)
    assert training_set.samples_per_epoch == 8
    assert [picture.caption for picture in training_set.pictures] == list(CAPTIONS.values())


def test_whole_paths_need_no_image_dir(folder):
    entries = {str(folder / "a.png"): {"caption": "x"}, str(folder / "b"): {"caption": "y"}}
    file = write(folder / "m.json", entries)
    scan = examine(DataConfig(subsets=[{"metadata_file": file}], resolution=32))
    assert captions(scan) == {"a": "x", "b": "y"} and scan.findings == ()
    training_set = open_training_set(scan.config, 0)
    assert training_set.fingerprint and training_set.folder_counts()


@pytest.mark.parametrize("key", ["/content/images/a.png", "C:\\data\\images\\a.png", "sub\\..\\a"])
def test_a_path_of_another_computer_finds_the_picture_of_that_name(folder, key):
    assert captions(examined(folder, {key: {"caption": "x"}})) == {"a": "x"}


def test_pictures_in_sub_folders_and_jsonl_files_are_read(folder):
    (folder / "sub").mkdir()
    write_picture(folder / "sub" / "a.b.png")
    file = folder / "m.jsonl"
    lines = [{"image_path": "sub/a.b", "caption": "deep"}, {"image_path": "e.png", "tags": "t"}]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    options = {"image_dir": str(folder), "metadata_file": str(file)}
    assert captions(examine(DataConfig(subsets=[options]))) == {"a.b": "deep", "e": "t"}


def test_pictures_that_are_only_named_and_those_that_are_not_named_are_told(folder):
    (folder / "g.gif").write_bytes(b"GIF")
    (folder / "z.npz").write_bytes(b"latents")
    names = {name: {"caption": name} for name in ("a", "a.png", "b", "nowhere", "z", "g.gif")}
    scan = examined(folder, names)
    assert codes(scan) == [("LX021", "error"), ("LX022", "warning")]
    absent, unnamed = scan.findings
    assert {location.path.name: location.detail for location in absent.where} == {
        "a.png": "it is the same picture as a",
        "nowhere": "there is no such picture",
        "z": "only its latents (.npz) are there, which sd-scripts made",
        "g.gif": "its format is not supported",
    }
    assert [location.path.name for location in unnamed.where] == ["c.png", "e.png"]
    with pytest.raises(DataError, match=r"4 pictures that .*m.json names cannot be used \[LX021\]"):
        open_training_set(scan.config, 0)


def test_relative_paths_without_image_dir_are_told(folder):
    file = write(folder / "m.json", {"a": {"caption": "x"}})
    scan = examine(DataConfig(subsets=[{"metadata_file": file}]))
    assert codes(scan) == [("LX021", "error")]
    assert "image_dir is not set" in scan.findings[0].where[0].detail


def test_an_entry_without_caption_and_tags_is_a_missing_caption(folder):
    finding = examined(folder, ENTRIES | {"a": {"tags": ""}}).findings[0]
    assert (finding.code, finding.severity) == ("LX009", "error")
    assert finding.what == (
        f"1 of 4 pictures has no caption (neither caption nor tags in {folder / 'm.json'})"
    )
    assert finding.fix.startswith("write them there, or set allow_missing_captions = true")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "is no JSON"),
        (b"{}", "names no pictures"),
        (b'["a"]', "names no pictures"),
        (b'{"a": "caption"}', "for 'a'"),
        (b'{"a": {"tags": ["red"]}}', "for 'a'"),
        (b'{"a": {"caption": "\\ud800"}}', "for 'a'"),
        ('{"a": {"caption": "少女，站在樱花树下"}}'.encode("gbk"), "simplified Chinese (GBK)"),
        (b"[" * 200_000, "are nested too deeply"),
    ],
)
def test_a_metadata_file_that_is_none_is_refused_with_the_reason(folder, raw, said):
    (folder / "m.json").write_bytes(raw)
    options = {"image_dir": str(folder), "metadata_file": str(folder / "m.json")}
    scan = examine(DataConfig(subsets=[options]))
    assert codes(scan) == [("LX020", "error")]
    assert said in scan.findings[0].where[0].detail


def test_missing_metadata_files_and_folders_are_told_at_once(folder, tmp_path):
    one = {"image_dir": str(folder), "metadata_file": str(tmp_path / "none.json")}
    two = {"image_dir": str(tmp_path / "none"), "metadata_file": write(folder / "m.json", ENTRIES)}
    assert codes(examine(DataConfig(subsets=[one, two]))) == [
        ("LX001", "error"),
        ("LX020", "error"),
    ]


def test_a_subset_needs_a_folder_or_a_metadata_file():
    with pytest.raises(ConfigError, match="a subset has no image_dir"):
        DataConfig(subsets=[{"num_repeats": 2}])


ODD_KEYS = ["", ".", "..", "/", "a\0b", "~x", "\ud800/a", "x" * 400]


@given(st.text(max_size=20) | st.sampled_from(ODD_KEYS))
def test_any_key_finds_a_picture_or_a_reason(tmp_path_factory, key):
    finder = PictureFinder(tmp_path_factory.getbasetemp())
    assert finder.find(key) is None
    assert finder.why_not(key)


def nested(inner):
    return st.dictionaries(st.text(max_size=5), inner, max_size=3) | st.lists(inner, max_size=3)


@given(st.recursive(st.none() | st.text(max_size=5), nested))
def test_any_json_is_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    try:
        assert read_metadata(path)
    except DataError as error:
        assert error.where == str(path)
