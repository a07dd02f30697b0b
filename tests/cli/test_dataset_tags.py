"""`lycoris-ext dataset tags`: edits into caption sets, and back."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lycoris_ext.cli import main
from lycoris_ext.data import DataConfig, scan_folders
from lycoris_ext.data.caption_sets import set_file
from lycoris_ext.data.captions import CaptionOptions
from lycoris_ext.data.queries import Pattern
from lycoris_ext.data.tag_edits import Add, Remove, RemoveOverlaps, Rename, Replace, edited

CAPTIONS = {
    "2_a~fanart~Cat": ("1girl, long_hair, red hat", "1girl, solo", "dog,cat"),
    "3_a~screenshots~Cat+Dog": ("1girl, solo, long hair", ""),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for name, captions in CAPTIONS.items():
        (root / name).mkdir(parents=True)
        for number, caption in enumerate(captions):
            Image.new("RGB", (32, 32), (number, 0, 0)).save(root / name / f"{number}.png")
            (root / name / f"{number}.txt").write_text(caption, encoding="utf-8")
    return root


def state(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def tags(folder: Path, *words: str) -> int:
    return main(["dataset", "tags", str(folder), *words])


def trained(folder: Path, name: str) -> list[str]:
    config = DataConfig(
        train_data_dir=str(folder), allow_missing_captions=True, caption_set=name, resolution=32
    )
    return [one.caption for one in scan_folders(config).pictures]


def test_edits_are_shown_and_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.rglob("*"))
    assert tags(folder, "--select", "folder:fanart", "--remove", "solo", "--add", "x") == 0
    told = capsys.readouterr().out
    assert "2_a~fanart~Cat/1.png\n  - solo\n  + x\n" in told
    assert "3 of 5 pictures are selected, and 3 captions change" in told
    assert "nothing is written" in told
    assert sorted(folder.rglob("*")) == before


def test_edits_go_into_a_set_in_their_order_and_the_originals_stay(folder: Path) -> None:
    before = state(folder)
    edits = ("--rename", "solo", "alone", "--remove", "al*", "--add-first", "x")
    assert tags(folder, *edits, "--set", "mine", "--write") == 0
    after = state(folder)
    assert {name: after[name] for name in before} == before
    assert all("caption_sets" in name for name in after.keys() - before.keys())
    assert trained(folder, "mine") == [
        *("x, 1girl, long_hair, red hat", "x, 1girl", "x, dog, cat"),
        *("x, 1girl, long hair", "x"),
    ]


def test_only_captions_that_change_are_in_the_set(folder: Path) -> None:
    tags(folder, "--remove", "dog", "--set", "mine", "--write")
    files = list(folder.rglob("caption_sets/*/*.txt"))
    assert [path.parent.parent.parent.name + path.name for path in files] == ["2_a~fanart~Cat2.txt"]


def test_writings_are_taken_back_one_after_the_other(folder: Path) -> None:
    states = [state(folder)]
    for edits in (("--add", "x"), ("--remove", "1girl"), ("--add", "y")):
        tags(folder, *edits, "--write")
        states.append(state(folder))
    assert trained(folder, "edited")[1] == "solo, x, y"
    assert len({json.dumps(one, sort_keys=True) for one in states}) == 4
    for then in reversed(states[:-1]):
        assert tags(folder, "--undo") == 0
        assert state(folder) == then
    assert not list(folder.rglob("caption_sets"))
    assert tags(folder, "--undo") != 0


def test_taking_back_loses_no_change_of_another_program(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tags(folder, "--add", "x", "--write")
    file = set_file(folder / "2_a~fanart~Cat" / "0.png", "edited")
    file.write_text("by hand")
    before = state(folder)
    assert tags(folder, "--undo") != 0
    assert "changed since" in capsys.readouterr().err
    assert state(folder) == before


def test_a_writing_that_was_cut_off_is_taken_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lycoris_ext.data import set_writing

    tags(folder, "--add", "x", "--write")
    before, written = state(folder), []
    whole = set_writing.atomic_write

    def cut_off(path: Path, content: bytes) -> None:
        written.append(path)
        if len(written) == 3:
            raise KeyboardInterrupt
        whole(path, content)

    monkeypatch.setattr(set_writing, "atomic_write", cut_off)
    assert tags(folder, "--add", "y", "--write") != 0
    monkeypatch.undo()
    assert state(folder) != before
    assert tags(folder, "--undo") == 0
    assert state(folder) == before


def test_a_set_that_is_a_link_is_not_written_through(folder: Path) -> None:
    place = folder / "2_a~fanart~Cat"
    (place / "caption_sets").mkdir()
    try:
        (place / "caption_sets" / "mine").symlink_to(place, target_is_directory=True)
    except OSError:
        pytest.skip("links cannot be made here")
    before = state(folder)
    assert tags(folder, "--add", "x", "--set", "mine", "--write") != 0
    assert state(folder) == before


def test_another_set_is_taken_whole(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tags(folder, "--add", "x", "--set", "first", "--write")
    select = ("--select", "level:screenshots")
    tags(folder, "--from", "first", *select, "--add", "y", "--set", "second", "--write")
    assert trained(folder, "second")[1:] == ["1girl, solo, x", "dog, cat, x", *(
        "1girl, solo, long hair, x, y", "x, y"
    )]  # fmt: skip
    tags(folder, "--from", "", "--set", "second", "--write")
    assert trained(folder, "second")[1:4] == ["1girl, solo", "dog,cat", "1girl, solo, long hair"]
    capsys.readouterr()
    assert tags(folder, "--from", "firts", "--set", "second") != 0
    assert "first, second" in capsys.readouterr().err


def test_a_set_is_compared_with_the_originals(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tags(folder, "--rename", "1girl", "one girl", "--set", "mine", "--write")
    capsys.readouterr()
    assert tags(folder, "--diff", "mine", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [(row["removed"], row["added"]) for row in told["changes"]] == [
        (["1girl"], ["one girl"])
    ] * 3
    assert tags(folder, "--diff", "none") != 0


def test_tokens_select_by_the_real_tokenizer(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tags(folder, "--select", "tokens:>6", "--add", "x") == 0
    assert "2 of 5 pictures are selected" in capsys.readouterr().out


def test_captions_in_other_encodings_are_refused_before_anything_is_written(folder: Path) -> None:
    (folder / "2_a~fanart~Cat" / "0.txt").write_bytes("女の子".encode("cp932"))
    before = state(folder)
    assert tags(folder, "--add", "x", "--write") != 0
    assert state(folder) == before


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".x", "nul"])
def test_a_set_has_a_name_that_a_folder_can_have(folder: Path, name: str) -> None:
    before = state(folder)
    assert tags(folder, "--add", "x", "--set", name, "--write") != 0
    assert state(folder) == before


def test_regularisation_is_left_alone(folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "my.toml"
    fanart, screenshots = (folder / name for name in CAPTIONS)
    config.write_text(
        f"[data]\nresolution = 32\n[[data.subsets]]\nimage_dir = '{fanart.as_posix()}'\n"
        f"[[data.subsets]]\nimage_dir = '{screenshots.as_posix()}'\nis_reg = true\n"
    )
    assert tags(config, "--add", "x", "--write") == 0
    assert (fanart / "caption_sets").is_dir() and not (screenshots / "caption_sets").exists()


class Nowhere:
    folder, levels, concepts = Path(), (), ()


def _edit(caption: str, *edits: object, **options: object) -> str:
    return edited(caption, CaptionOptions(**options), edits, Nowhere())


def test_edits_keep_the_marks_of_tags_that_stay_in_their_place() -> None:
    options = {"keep_tokens_separator": "|||"}
    caption = "trigger ||| a, b ||| c"
    assert _edit(caption, Remove(Pattern("b")), **options) == "trigger ||| a ||| c"
    assert _edit(caption, Add("x"), Add("y", first=True), **options) == (
        "y, trigger ||| a, b ||| c, x"
    )


def test_edits_of_tags() -> None:
    assert _edit("a, b, a", Rename(Pattern("b"), "a")) == "a, a"
    assert _edit("b1, c, b2", Rename(Pattern("b?"), "x")) == "x, c"
    assert _edit("a_b, _, c", Replace("_", " ")) == "a b, c"
    assert _edit("Long Hair, x", Add("long_hair")) == "Long Hair, x"
    assert _edit("a; b", Add("c"), caption_separator=";") == "a; b; c"
    assert _edit("a, b\nc", Add("x"), Remove(Pattern("c"))) == "a, b, x\nx"
    table = {"sky": frozenset({"cloud"})}
    caption = "hair, long hair, sky, cloud, x"
    assert _edit(caption, RemoveOverlaps(True, table)) == "long hair, cloud, x"
    assert _edit(caption, RemoveOverlaps(False, table)) == "hair, long hair, cloud, x"


CAPTION = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=40)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CAPTION, st.text("ab_ *?", min_size=1, max_size=4))
def test_edits_that_change_no_tag_change_no_byte(caption: str, tag: str) -> None:
    assert _edit(caption) == caption
    removed = _edit(caption, Remove(Pattern(tag)))
    assert _edit(removed, Remove(Pattern(tag))) == removed
    added = _edit(caption, Add("z\tz"))
    assert _edit(added, Add("z\tz")) == added
    assert _edit(added, Remove(Pattern("z\tz"))).replace(" ", "") in (
        ",".join(t.strip() for t in caption.split(",") if t.strip()).replace(" ", ""),
        caption.replace(" ", ""),
    )


@pytest.fixture
def cast(tmp_path: Path) -> Path:
    """Two characters with a hair colour each, and a tag that all pictures have."""
    for name, hair in (("1_c~Ann", "red_hair"), ("1_c~Bea", "blue hair")):
        place = tmp_path / "cast" / name
        place.mkdir(parents=True)
        for number in range(12):
            (place / f"{number}.png").touch()
            (place / f"{number}.txt").write_text(f"{name[4:]}, 1girl, {hair}, hair, {number}")
    return tmp_path / "cast"


def test_what_belongs_to_a_concept_is_shown_and_pruned(
    cast: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = tmp_path / "truth.json"
    truth.write_text('{"Ann": ["red hair"], "Bea": ["blue hair"]}')
    before = state(cast)
    assert tags(cast, "--core", "--truth", str(truth)) == 0
    told = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in told]
    assert [row for row in rows if row[0] == "Ann"] == [
        ["Ann", "1girl", "100%", "100%", "0.8", "no"],
        ["Ann", "hair", "100%", "100%", "0.8", "no"],
        ["Ann", "red", "hair", "100%", "0%", "3.1", "yes"],
    ]
    assert told[-2:] == [
        "rate alone: precision 0.33, recall 1.00",
        "rate and lift: precision 1.00, recall 1.00",
    ]
    assert state(cast) == before
    assert tags(cast, "--prune", "--add-first", "x", "--set", "pruned", "--write") == 0
    file = set_file(cast / "1_c~Ann" / "0.png", "pruned")
    assert file.read_text() == "x, Ann, 1girl, hair, 0\n"


def test_lists_and_overlaps_remove_tags(cast: Path, tmp_path: Path) -> None:
    (tmp_path / "black.txt").write_text("1girl\nred hair\n")
    implied = [{"query": "hair", "has_overlap": ["blue_hair"]}, {"query": "none"}]
    (tmp_path / "implied.json").write_text(json.dumps(implied))
    lists = ("--blacklist", str(tmp_path / "black.txt"))
    lists += ("--implied", str(tmp_path / "implied.json"))
    assert tags(cast, *lists, "--write") == 0
    made = [set_file(cast / name / "7.png", "edited") for name in ("1_c~Ann", "1_c~Bea")]
    assert [file.read_text() for file in made] == ["Ann, hair, 7\n", "Bea, blue hair, 7\n"]
    assert tags(cast, "--overlaps", "--set", "o", "--write") == 0
    assert set_file(cast / "1_c~Ann" / "7.png", "o").read_text() == "Ann, 1girl, red_hair, 7\n"


@pytest.mark.parametrize("content", ["[1]", "{", '{"a": "b"}', '{"a": [1]}', "3", b"\xff"])
def test_tables_of_tags_that_are_none_are_refused(
    cast: Path, tmp_path: Path, content: str | bytes
) -> None:
    file = tmp_path / "table.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    expected = 0 if content == "[1]" else 3
    assert tags(cast, "--implied", str(file)) == expected
    assert tags(cast, "--implied", str(tmp_path / "none.json")) != 0
    assert tags(cast, "--core", "--threshold", "0") != 0
