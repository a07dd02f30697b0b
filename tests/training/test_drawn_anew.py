"""Runs on pictures that are drawn anew each time, and on pictures with masks."""

from __future__ import annotations

import pytest
from PIL import Image

from lycoris_ext.formats import load_adapter
from tests.recorded import loss_curve

DRAWN = {"random_crop": True, "color_aug": True, "flip_aug": True, "enable_bucket": False}


@pytest.fixture
def wide(pictures):
    """Make the pictures larger than the resolution, so that crops differ."""
    for path in (pictures / "2_shapes").glob("*.png"):
        Image.open(path).resize((80, 60)).save(path)


def test_a_run_goes_on_bit_for_bit_with_pictures_that_are_drawn_anew(run, wide, tmp_path):
    whole = run(output_dir=str(tmp_path / "whole"), max_train_steps=5, **DRAWN)
    run(max_train_steps=2, **DRAWN)
    again = run(max_train_steps=5, **DRAWN)
    assert again.read_bytes() == whole.read_bytes()
    plain = run(output_name="plain", max_train_steps=5, enable_bucket=False)
    assert loss_curve(tmp_path / "out" / "plain.events.jsonl") != loss_curve(
        tmp_path / "out" / "test.events.jsonl"
    )
    told, usual = load_adapter(again).metadata, load_adapter(plain).metadata
    names = ("ss_random_crop", "ss_color_aug", "ss_face_crop_aug_range", "ss_cache_latents")
    assert [told[name] for name in names] == ["True", "True", "None", "False"]
    assert [usual[name] for name in names] == ["False", "False", "None", "True"]


def test_a_range_of_faces_is_in_the_metadata_as_sd_scripts_writes_it(run, wide, pictures, capsys):
    folder = pictures / "2_shapes"
    for ending in ("png", "txt"):
        (folder / f"00.{ending}").rename(folder / f"00_40_30_9_9.{ending}")
    path = run(max_train_steps=1, face_crop_aug_range="2,4", enable_bucket=False)
    assert load_adapter(path).metadata["ss_face_crop_aug_range"] == "(2.0, 4.0)"
    said = capsys.readouterr().err
    assert "1 picture is drawn anew each time" in said and "LX089" in said


def test_masks_from_a_folder_lower_the_loss(run, pictures, tmp_path):
    (tmp_path / "masks").mkdir()
    for path in (pictures / "2_shapes").glob("*.png"):
        Image.new("RGB", (36, 36), (51, 0, 0)).save(tmp_path / "masks" / path.name)
    losses = {}
    for name, masks in (("plain", ""), ("masked", str(tmp_path / "masks"))):
        run(output_name=name, conditioning_data_dir=masks, masked_loss=bool(masks))
        losses[name] = loss_curve(tmp_path / "out" / f"{name}.events.jsonl")[0][1]
    assert losses["masked"] == pytest.approx(losses["plain"] / 5, rel=1e-5)
