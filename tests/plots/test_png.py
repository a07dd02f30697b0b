"""Generation parameters inside of pictures, and numbered names of their files."""

from __future__ import annotations

from datetime import datetime

import pytest
from PIL import Image

from lycoris_ext.plots.png import next_number, numbered_path, read_parameters, save_picture
from lycoris_ext.sampling.infotext import AdapterInfo, infotext
from lycoris_ext.sampling.specs import PromptSpec


def test_infotext_has_the_form_of_automatic1111():
    text = infotext(
        PromptSpec("a cat, by fluent", negative_prompt="blurry", seed=7, cfg_scale=6.5),
        (64, 96),
        model_name="mini",
        model_hash="0123456789abcdef",
        adapters=[AdapterInfo("style", 0.8, "f" * 64), AdapterInfo("cats", 1.0, "e" * 64)],
        clip_skip=2,
    )
    assert text == (
        "a cat, by fluent <lora:style:0.8> <lora:cats:1>\n"
        "Negative prompt: blurry\n"
        "Steps: 20, Sampler: Euler, CFG scale: 6.5, Seed: 7, Size: 64x96, Model hash: 0123456789, "
        'Model: mini, Clip skip: 2, Lora hashes: "style: ffffffffffff, cats: eeeeeeeeeeee"'
    )


def test_infotext_leaves_out_what_is_not_known():
    assert infotext(PromptSpec("a"), (8, 8)) == (
        "a\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 0, Size: 8x8"
    )


@pytest.mark.parametrize("prompt", ["plain", "umlaut: ä", "猫, \U0001f431"])
def test_parameters_in_a_png_are_read_back(tmp_path, prompt):
    path = save_picture(tmp_path / "new" / "a.png", Image.new("RGB", (4, 4), "red"), prompt)
    assert read_parameters(path) == prompt
    with Image.open(path) as picture:
        assert picture.getpixel((0, 0)) == (255, 0, 0)
    assert [entry.name for entry in path.parent.iterdir()] == ["a.png"]


def test_numbered_paths_go_on_after_the_highest_number_in_the_folder(tmp_path):
    moment = datetime(2023, 3, 26, 9, 8, 58)
    folder = tmp_path / "samples"
    assert next_number(folder) == 0
    for expected in ("00000-20230326090858.png", "00001-20230326090858.png"):
        path = numbered_path(folder, at=moment)
        assert path.name == expected
        save_picture(path, Image.new("RGB", (2, 2)))
    (folder / "00041-x.txt").touch()
    (folder / "123456-note.png").touch()
    (folder / "99-short.png").touch()
    assert next_number(folder) == 123457
    assert numbered_path(folder, "-grid.png", at=moment).name == "123457-20230326090858-grid.png"
