"""`lycoris-ext dataset caption --tagger`: captions go into a set, once, and come back out of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lycoris_ext.cli import main
from lycoris_ext.tagging.options import TaggingOptions
from tests.tagging.onnx_files import write_tagger

pytest.importorskip("onnxruntime")

from lycoris_ext.tagging.model import OnnxTagger

COLOURS = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250), "grey": (9, 9, 9)}
WANTED = {
    "red": "red_theme",
    "green": "green_theme, miku_(vocaloid)",
    "blue": "blue_theme, saber_(dress)_(fate)",
    "grey": "",
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a data set of two folders, and a tagger."""
    write_tagger(tmp_path / "tagger")
    for number, folder in enumerate(("2_a", "3_b")):
        (tmp_path / "set" / folder).mkdir(parents=True)
        for name, colour in COLOURS.items():
            path = tmp_path / "set" / folder / f"{name}.png"
            Image.new("RGB", (30 + number, 20), colour).save(path)
            path.with_suffix(".txt").write_text(f"{name} cat, red_theme\n", encoding="utf-8")
    return tmp_path


def tag(place: Path, *words: str) -> int:
    given = ["--tagger", str(place / "tagger"), "--cache_dir", str(place / "cache")]
    return main(["dataset", "caption", str(place / "set"), *given, *words])


def state(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def written(place: Path, name: str = "tagged", folder: str = "2_a") -> dict[str, str]:
    inside = place / "set" / folder / "caption_sets" / name
    return {path.stem: path.read_text(encoding="utf-8") for path in inside.glob("*.txt")}


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of pictures of each run of the model, without the one that tries it."""
    found: list[int] = []
    scores = OnnxTagger.scores

    def counted(self: OnnxTagger, pictures: Any) -> Any:
        if pictures.min() < 255:
            found.append(len(pictures))
        return scores(self, pictures)

    monkeypatch.setattr(OnnxTagger, "scores", counted)
    return found


def test_captions_are_written_into_a_set_and_the_originals_stay(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = state(place / "set")
    assert tag(place) == 0
    after = state(place / "set")
    assert {name: after[name] for name in before} == before
    assert all("/caption_sets/tagged/" in name for name in after.keys() - before.keys())
    for folder in ("2_a", "3_b"):
        assert written(place, folder=folder) == {n: f"{text}\n" for n, text in WANTED.items()}
    told = capsys.readouterr().out
    assert "8 pictures tagged now (CPU), 0 by an earlier run; 8 captions change" in told
    assert "2 captions are empty" in told
    assert main(["dataset", "caption", str(place / "set"), "--undo"]) == 0
    assert state(place / "set") == before


@pytest.mark.parametrize("words", [(), ("--batch_size", "3"), ("--max_data_loader_n_workers", "1")])
def test_batches_and_threads_change_no_caption(
    place: Path, runs: list[int], words: tuple[str, ...]
) -> None:
    assert tag(place, *words) == 0
    assert written(place) == {name: f"{text}\n" for name, text in WANTED.items()}
    assert runs == ([3, 3, 2] if "3" in words else [1] * 8)


def test_nothing_is_computed_twice_also_with_other_options(place: Path, runs: list[int]) -> None:
    assert tag(place) == 0
    assert tag(place, "--thresh", "0.25", "--use_rating_tags", "--remove_underscore") == 0
    assert len(runs) == 8
    assert written(place)["green"] == "sensitive, green theme, ^_^, miku (vocaloid)\n"
    (place / "set" / "2_a" / "red.png").rename(place / "set" / "3_b" / "other.png")
    assert tag(place) == 0
    assert len(runs) == 8
    Image.new("RGB", (31, 20), (0, 251, 0)).save(place / "set" / "2_a" / "grey.png")
    assert tag(place) == 0
    assert len(runs) == 9
    assert tag(place, "--thresh", "0.01") == 0  # more of the answers is needed
    assert len(runs) == 17


def test_a_run_that_was_stopped_goes_on(
    place: Path, runs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = OnnxTagger.scores

    def stopped(self: OnnxTagger, pictures: Any) -> Any:
        if len(runs) == 5:
            raise KeyboardInterrupt
        return counted(self, pictures)

    with monkeypatch.context() as patch:
        patch.setattr(OnnxTagger, "scores", stopped)
        assert tag(place) == 130
    assert not list((place / "set").rglob("caption_sets"))
    assert tag(place) == 0
    assert len(runs) == 8
    assert written(place)["red"] == "red_theme\n"


def test_a_damaged_answer_in_the_cache_is_computed_again(place: Path, runs: list[int]) -> None:
    assert tag(place) == 0
    for file in (place / "cache" / "tags").iterdir():
        file.write_bytes(file.read_bytes()[:-3])
    assert tag(place) == 0
    assert len(runs) == 16


def test_another_tagger_takes_no_answers_of_the_first(place: Path, runs: list[int]) -> None:
    assert tag(place) == 0
    write_tagger(place / "tagger", sigmoid=False)
    assert tag(place) == 0
    assert len(runs) == 16


def test_a_damaged_picture_stops_nothing_and_is_told(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("red", "blue"):
        (place / "set" / "2_a" / f"{name}.png").write_bytes(b"\x89PNG damaged")
    assert tag(place) == 3
    assert set(written(place)) == {"green", "grey"}
    assert len(written(place, folder="3_b")) == 4
    told = capsys.readouterr()
    assert "red.png" in told.err and "blue.png" in told.err and "--undo" in told.out


def test_a_preview_writes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = state(place / "set")
    assert tag(place, "--preview", "--frequency_tags") == 0
    assert state(place / "set") == before
    told = capsys.readouterr().out
    assert "2_a/green.png\n  green_theme, miku_(vocaloid)\n" in told
    assert "\nred_theme                    2\n" in told


def test_tags_are_appended_to_the_captions_that_are_there(place: Path) -> None:
    assert tag(place, "--append_tags") == 0
    appended = {
        "green": "green cat, red_theme, green_theme, miku_(vocaloid)\n",
        "blue": "blue cat, red_theme, blue_theme, saber_(dress)_(fate)\n",
    }
    assert written(place) == appended  # the others have nothing new and are not in the set
    assert tag(place, "--append_tags") == 0
    assert written(place) == appended


def test_only_what_training_reads_is_tagged_unless_all_is_asked_for(place: Path) -> None:
    (place / "set" / "2_a" / "deeper").mkdir()
    for folder in ("", "other", "2_a/deeper"):
        (place / "set" / folder).mkdir(exist_ok=True)
        Image.new("RGB", (20, 20), (250, 0, 0)).save(place / "set" / folder / "x.png")
    assert tag(place) == 0
    assert not list((place / "set").rglob("x.txt"))
    assert tag(place, "--recursive") == 0
    assert len(list((place / "set").rglob("x.txt"))) == 3


def test_pictures_of_one_name_are_tagged_once(place: Path, runs: list[int]) -> None:
    Image.new("RGB", (20, 20), (0, 0, 250)).save(place / "set" / "2_a" / "red.webp")
    assert tag(place) == 0
    assert len(runs) == 8 and written(place)["red"] == "red_theme\n"


def test_json_holds_all_captions(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "set" / "2_a" / "red.png").write_bytes(b"")
    assert tag(place, "--json", "--set", "mine") == 3
    found = json.loads(capsys.readouterr().out)
    assert found["set"] == "mine" and len(found["captions"]) == 7
    assert found["captions"][0]["caption"] == WANTED["blue"] and found["captions"][0]["changed"]
    assert Path(found["captions"][0]["caption_file"]).read_text() == f"{WANTED['blue']}\n"
    assert [Path(one["file"]).name for one in found["unread"]] == ["red.png"]
    assert found["tags"]["green_theme"] == 2


def test_a_set_is_compared_with_the_originals(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tag(place) == 0
    capsys.readouterr()
    assert main(["dataset", "caption", str(place / "set"), "--diff", "tagged"]) == 0
    assert "- green cat, red_theme" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--set", "a/b"), "cannot be the name"),
        (("--thresh", "-1"), "thresh is -1"),
        (("--use_rating_tags", "--use_rating_tags_as_last_tag"), "both set"),
    ],
)
def test_wrong_options_are_refused_before_the_tagger_is_loaded(
    place: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    (place / "tagger" / "model.onnx").unlink()
    assert tag(place, *words) == 2
    assert told in capsys.readouterr().err


def test_a_command_without_a_tagger_asks_for_one(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", "caption", str(place / "set")]) == 2
    assert "no tagger is given" in capsys.readouterr().err


def test_every_option_is_a_flag_with_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["dataset", "caption", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    for name, known in TaggingOptions.options().items():
        assert f"--{name}" in told and " ".join(known.help.split())[:25] in told
