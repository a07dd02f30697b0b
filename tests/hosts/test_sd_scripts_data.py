"""sd-scripts' own data sets: the same captions are made of the same metadata JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lycoris_ext.data import DataConfig, examine
from tests.hosts.checkouts import Checkout, run_script
from tests.tiny_pictures import write_picture

pytestmark = pytest.mark.hosts

INSIDE = Path(__file__).resolve().parent / "inside"

ENTRIES = {
    "a": {"caption": "one cat", "tags": "red, blue"},
    "b.png": {"caption": "a cat, outdoors"},
    "c": {"caption": "first\nsecond", "tags": "x\ny"},
    "d": {"caption": "a {red|blue} cat"},
    "e": {"tags": "solo"},
}


@pytest.mark.parametrize("wildcard", [False, True])
def test_captions_of_a_metadata_json_are_those_of_sd_scripts(
    sd_scripts: Checkout, tmp_path: Path, wildcard: bool
) -> None:
    for number, name in enumerate("abcde"):
        write_picture(tmp_path / f"{name}.png", number)
    file = tmp_path / "metadata.json"
    file.write_text(json.dumps(ENTRIES), encoding="utf-8")
    run = run_script(sd_scripts, INSIDE / "sd_scripts_metadata.py", str(tmp_path), str(file))
    theirs = json.loads(run.output.splitlines()[-1])[str(wildcard).lower()]
    assert theirs.pop("e") == ("" if wildcard else "solo")  # the tags are lost there, kept here
    folder = {"image_dir": str(tmp_path), "metadata_file": str(file), "enable_wildcard": wildcard}
    scan = examine(DataConfig(subsets=[folder]), open_pictures=False)
    ours = {picture.path.stem: picture.caption for picture in scan.pictures}
    assert ours.pop("e") == "solo"
    assert ours == {Path(key).stem: caption for key, caption in theirs.items()}


def test_the_pictures_that_are_held_out_are_those_of_sd_scripts(
    sd_scripts: Checkout, tmp_path: Path
) -> None:
    for number in range(23):
        ending = (".png", ".jpg", ".webp", ".PNG")[number % 4]
        write_picture(tmp_path / f"{'Ab_é '[number % 5]}{number}{ending}", number)
    cases = [(split, seed) for split in (0.02, 0.1, 0.25, 0.5, 0.9, 1.0) for seed in (0, 7, 2**40)]
    script = INSIDE / "sd_scripts_validation.py"
    run = run_script(sd_scripts, script, str(tmp_path), json.dumps(cases))
    theirs = json.loads(run.output.splitlines()[-1])
    for (split, seed), (trained, validated) in zip(cases, theirs, strict=True):
        options = {"validation_split": split, "validation_seed": seed, "class_tokens": "a"}
        config = DataConfig(subsets=[{"image_dir": str(tmp_path), **options}])
        pictures = examine(config, open_pictures=False).pictures
        assert {one.path.name for one in pictures if one.is_held_out} == set(validated)
        ours = {one.path.name for one in pictures if one.is_training}
        assert ours == set(trained) - set(validated)  # it rounds both parts up
