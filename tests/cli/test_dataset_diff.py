"""`lycoris-ext dataset diff`: what changed in the pictures and captions of a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lycoris_ext.cli import main
from lycoris_ext.config import OptionSource, build_config
from lycoris_ext.data import DataConfig, open_training_set
from lycoris_ext.data.manifest_file import write_manifest
from lycoris_ext.formats import AdapterState, load_adapter, save_adapter
from lycoris_ext.runs.paths import RunPaths
from lycoris_ext.training.terminal import train_in_terminal
from tests.tiny_pictures import write_picture, write_pictures


@pytest.fixture
def recorded(pictures: Path, tmp_path: Path):
    """Return a function that writes what a run records of its data set, and returns its name."""

    def record(name: str = "my", seed: int = 0, **options: Any) -> Path:
        options = options or {"train_data_dir": str(pictures)}
        found = open_training_set(DataConfig(resolution=32, **options), seed)
        write_manifest(RunPaths(tmp_path / "out", name).dataset, found.manifest)
        return tmp_path / "out" / name

    return record


@pytest.fixture
def diff(capsys: pytest.CaptureFixture[str]):
    """Return a function that compares, and returns the exit code and the lines."""

    def call(*words: object) -> tuple[int, list[str]]:
        capsys.readouterr()
        code = main(["dataset", "diff", *map(str, words)])
        said = capsys.readouterr()
        return code, (said.out or said.err).splitlines()

    return call


def edit(pictures: Path) -> None:
    folder = pictures / "2_shapes"
    write_picture(folder / "00.png", 50)
    (folder / "01.txt").write_text("by tester, new, blue", encoding="utf-8")
    (folder / "02.png").rename(folder / "renamed.png")
    (folder / "02.txt").rename(folder / "renamed.txt")
    (folder / "03.png").unlink()
    write_picture(folder / "99.png", 52)


def test_everything_that_changed_is_named(recorded, diff, pictures: Path) -> None:
    run = recorded()
    assert diff(run, pictures) == (0, ["same: all 6 pictures"])
    before = (pictures / "2_shapes" / "01.txt").read_text("utf-8").split(", ")
    edit(pictures)
    code, lines = diff(run, pictures)
    counted = "1 picture is new, 1 picture is gone, 1 picture has another name, 1 picture changed"
    assert code == 1 and lines == [
        "2_shapes/00.png: the picture changed",
        "2_shapes/01.png: its caption changed",
        f"  - {', '.join(tag for tag in before if tag not in ('by tester', 'blue'))}",
        "  + new",
        "2_shapes/02.png: is called 2_shapes/renamed.png now",
        "2_shapes/03.png: is gone",
        "2_shapes/99.png: is new",
        f"different: {counted}, 1 caption changed",
    ]


def test_json_holds_all_of_it(recorded, diff, pictures: Path) -> None:
    run = recorded()
    edit(pictures)
    code, (line,) = diff(run, pictures, "--json")
    told = json.loads(line)
    assert code == 1 and not told["same"]
    assert told["fingerprint"]["before"] != told["fingerprint"]["after"]
    found = told["differences"]
    assert found["added"] == ["2_shapes/99.png"] and found["removed"] == ["2_shapes/03.png"]
    assert found["renamed"] == [{"before": "2_shapes/02.png", "after": "2_shapes/renamed.png"}]
    assert found["captions"][0]["added"] == ["new"]
    assert found["repeats"] == [] and found["options"] == [] and not found["reordered"]


def test_without_a_folder_it_looks_where_the_run_looked(recorded, diff, pictures: Path) -> None:
    run = recorded()
    assert diff(run)[0] == 0
    edit(pictures)
    assert diff(run)[0] == 1


def test_a_folder_that_moved_is_the_same(recorded, diff, pictures: Path, tmp_path: Path) -> None:
    run = recorded()
    moved = pictures.rename(tmp_path / "elsewhere")
    assert diff(run, moved)[0] == 0
    code, lines = diff(run)
    assert code == 3 and "does not exist" in lines[0]


def test_subsets_are_found_below_a_folder_that_moved(recorded, diff, tmp_path: Path) -> None:
    """As `dataset balance --config` writes them; a further folder is new."""
    root = tmp_path / "set"
    for name in ("a", "b/c"):
        write_pictures(root / name, 2)
    places = [str(root / "a" / "2_shapes"), str(root / "b" / "c" / "2_shapes")]
    subsets = [{"image_dir": place, "num_repeats": 3 + n} for n, place in enumerate(places)]
    run = recorded(subsets=subsets)
    moved = root.rename(tmp_path / "moved")
    assert diff(run, moved) == (0, ["same: all 4 pictures"])
    write_pictures(moved / "d", 1)
    (moved / "a" / "2_shapes" / "00.txt").write_text("other", encoding="utf-8")
    code, lines = diff(run, moved)
    assert code == 1 and lines[0] == "a/2_shapes/00.png: its caption changed"
    assert lines[-2:] == [
        "d/2_shapes/00.png: is new",
        "different: 1 picture is new, 1 caption changed",
    ]


def test_other_repeats_in_the_name_of_a_folder_are_told(recorded, diff, pictures: Path) -> None:
    run = recorded()
    (pictures / "2_shapes").rename(pictures / "5_shapes")
    code, lines = diff(run, pictures)
    assert code == 1 and lines == [
        "5_shapes: 5 repeats, were 2 (6 pictures)",
        "different: 1 folder has other repeats",
    ]


def test_a_folder_is_read_with_the_options_of_the_run(recorded, diff, pictures: Path) -> None:
    for path in (pictures / "2_shapes").glob("*.txt"):
        path.rename(path.with_suffix(".cap"))
    run = recorded(train_data_dir=str(pictures), caption_extension=".cap", keep_tokens=1)
    assert diff(run, pictures)[0] == 0


def test_the_same_pictures_are_held_out_as_in_the_run(recorded, diff, pictures: Path) -> None:
    run = recorded(train_data_dir=str(pictures), validation_split=0.4, seed=7)
    assert diff(run, pictures)[0] == 0
    (pictures / "2_shapes" / "01.txt").write_text("other", encoding="utf-8")
    code, lines = diff(run, pictures)
    assert code == 1 and lines[-1] == "different: 1 caption changed"


def test_masks_and_metadata_are_compared(recorded, diff, pictures: Path, tmp_path: Path) -> None:
    shapes, masks, listed = pictures / "2_shapes", tmp_path / "masks", tmp_path / "listed.json"
    masks.mkdir()
    for name in ("00", "01"):
        write_picture(masks / f"{name}.png", 3)
    listed.write_text(json.dumps({"00": {"tags": "a, b"}, "01": {"tags": "c"}}), encoding="utf-8")
    paths = {"metadata_file": str(listed), "conditioning_data_dir": str(masks)}
    run = recorded(subsets=[{"image_dir": str(shapes), **paths}], masked_loss=True)
    assert diff(run)[0] == 0
    write_picture(masks / "00.png", 4)
    listed.write_text(json.dumps({"00": {"tags": "a, b"}, "01": {"tags": "d"}}), encoding="utf-8")
    code, lines = diff(run, shapes)
    assert code == 1 and lines == [
        "00.png: its mask changed",
        "01.png: its caption changed",
        "  - c",
        "  + d",
        "different: 1 mask changed, 1 caption changed",
    ]
    listed.write_text("{", encoding="utf-8")
    code, lines = diff(run)
    assert code == 3 and "listed.json" in "".join(lines)


def test_a_config_is_compared_with_its_options(
    recorded, diff, pictures: Path, tmp_path: Path
) -> None:
    run = recorded(train_data_dir=str(pictures), keep_tokens=1)
    config = tmp_path / "my.toml"
    where = json.dumps(str(pictures))
    config.write_text(f"train_data_dir = {where}\nkeep_tokens = 1\n", encoding="utf-8")
    assert diff(run, config)[0] == 0  # where resolution is unset, it is the base model's
    config.write_text(f"train_data_dir = {where}\nflip_aug = true\n", encoding="utf-8")
    code, lines = diff(run, config)
    assert code == 1 and lines == [
        "flip_aug is true, was false",
        "keep_tokens is 0, was 1",
        "different: 2 options changed",
    ]


def test_a_run_is_found_by_its_folder_its_name_and_its_files(
    recorded, diff, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = recorded()
    listed = run.with_name("my.dataset.json.gz")
    for name in (run, run.parent, listed, run.with_name("my.toml"), f"{run}.events.jsonl"):
        assert diff(name, pictures)[0] == 0, name
    monkeypatch.chdir(tmp_path)
    shutil.move(run.parent, tmp_path / "output")  # the default of output_dir
    assert diff("my", pictures)[0] == 0


def test_an_ambiguous_or_wrong_run_is_refused(
    recorded, diff, pictures: Path, tmp_path: Path
) -> None:
    run = recorded()
    recorded("other")
    code, lines = diff(run.parent, pictures)
    assert code == 3 and "2 runs in this folder: my, other" in lines[0]
    for name, said in (
        (pictures, "there is no run in this folder"),
        ("nix", "no run of this name"),
    ):
        code, lines = diff(tmp_path / name, pictures)
        assert code == 3 and said in lines[0]
    code, lines = diff(run, tmp_path / "out")
    assert code == 3 and "there are no pictures" in lines[0]
    code, lines = diff(run, tmp_path / "nix")
    assert code in (2, 3) and "nix" in lines[0]


def test_an_unreadable_picture_is_told(recorded, diff, pictures: Path) -> None:
    run = recorded()
    (pictures / "2_shapes" / "02.png").write_bytes(b"")
    code, lines = diff(run, pictures)
    assert code == 3 and "02.png: the file is empty" in lines[0]


@pytest.fixture
def trained(tiny_base, pictures: Path, tmp_path: Path) -> Path:
    options = {
        "pretrained_model_name_or_path": str(tiny_base),
        "train_data_dir": str(pictures),
        "output_dir": str(tmp_path / "out"),
        "resolution": 32,
        "network_dim": 2,
        "preset": "attn-only",
        "optimizer_type": "AdamW",
        "max_train_steps": 2,
        "save_every_n_steps": 1,
        "ema_decay": 0.5,
        "device": "cpu",
    }
    return train_in_terminal(build_config([OptionSource("test", options)]))


def test_every_adapter_of_a_training_knows_its_pictures(
    trained: Path, diff, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapters = sorted(trained.parent.glob("*.safetensors"))
    assert len(adapters) == 6
    for path in adapters:
        assert diff(path, pictures)[0] == 0
    main(["info", str(trained)])
    fingerprint = load_adapter(trained).metadata["lycoris_ext_dataset"]
    assert f"data fingerprint {fingerprint}" in " ".join(capsys.readouterr().out.split())


def test_of_an_adapter_alone_the_fingerprint_is_compared(
    trained: Path, diff, pictures: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone" / "renamed.safetensors"
    alone.parent.mkdir()
    shutil.copy(trained, alone)
    assert diff(alone, pictures) == (
        0,
        ["same: pictures, captions and repeats have the fingerprint of the run"],
    )
    (pictures / "2_shapes" / "01.txt").write_text("other", encoding="utf-8")
    code, lines = diff(alone, pictures)
    assert code == 1 and lines[0].startswith("different: ") and "is not beside" in lines[0]
    code, (line,) = diff(alone, pictures, "--json")
    assert code == 1 and json.loads(line)["differences"] is None


def test_a_list_of_another_run_is_not_taken_for_the_adapter_s(
    trained: Path, diff, pictures: Path, recorded
) -> None:
    (pictures / "2_shapes" / "01.txt").write_text("other", encoding="utf-8")
    write_manifest(
        RunPaths(trained.parent, trained.stem).dataset,
        open_training_set(DataConfig(train_data_dir=str(pictures)), 0).manifest,
    )
    code, lines = diff(trained, pictures)
    assert code == 1 and "lists the pictures of another run" in lines[0]


def test_an_adapter_without_a_fingerprint_is_told(trained: Path, diff, tmp_path: Path) -> None:
    state = load_adapter(trained)
    other = tmp_path / "other.safetensors"
    save_adapter(other, AdapterState(state.tensors, {"ss_seed": "1"}))
    code, lines = diff(other, tmp_path)
    assert code == 3 and "holds no fingerprint of a data set" in lines[0]
