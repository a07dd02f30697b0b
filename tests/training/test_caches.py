"""Caches do not change a run's result, are never outdated, and refuse contradicting options."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from lycoris_ext.config import OptionSource, build_config
from lycoris_ext.errors import ConfigError
from lycoris_ext.formats import load_adapter
from lycoris_ext.training.caches import cache_folder
from lycoris_ext.training.pipeline_base import PipelineBase
from lycoris_ext.training.terminal import train_in_terminal
from tests.recorded import loss_curve
from tests.tiny_pictures import write_picture


@pytest.fixture
def options(options):
    return {**options, "max_train_steps": 3, "flip_aug": True, "network_train_unet_only": True}


def config(options, **changes):
    return build_config([OptionSource("test", {**options, **changes})])


def tensors(options, **changes):
    return load_adapter(train_in_terminal(config(options, **changes))).tensors


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


ON_DISK = {"cache_latents_to_disk": True, "cache_text_encoder_outputs_to_disk": True}


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_caches_in_memory_and_on_disk_do_not_change_the_adapter(
    options, tmp_path, capsys, precision
):
    options["mixed_precision"] = precision
    expected = tensors(options, output_name="plain")
    assert not (tmp_path / "out" / "cache").exists()
    assert same(tensors(options, output_name="kept", cache_text_encoder_outputs=True), expected)
    assert same(tensors(options, output_name="disk", **ON_DISK), expected)
    folder = tmp_path / "out" / "cache"
    said = capsys.readouterr().err
    assert f"latents: 0 found, 12 new in {folder / 'latents'} (12 files, " in said
    assert f"captions: 0 found, 6 new in {folder / 'captions'} (6 files, " in said
    assert same(tensors(options, output_name="again", **ON_DISK), expected)
    assert "latents: 12 found, 0 new" in (said := capsys.readouterr().err)
    assert "captions: 6 found, 0 new" in said


def test_another_run_finds_a_shared_cache_and_mends_damaged_files(options, tmp_path, capsys):
    shared = tmp_path / "shared"
    expected = tensors(options, cache_dir=str(shared), **ON_DISK)
    assert not (tmp_path / "out" / "cache").exists()
    files = sorted(shared.rglob("*.tensors"))
    assert len(files) == 19  # 12 latents, 6 captions, and what was found in the pictures
    for path in files[::2]:
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    capsys.readouterr()
    elsewhere = {**options, "output_dir": str(tmp_path / "elsewhere")}
    assert same(tensors(elsewhere, cache_dir=str(shared), **ON_DISK), expected)
    said = capsys.readouterr().err
    assert "latents: 12 found, 0 new" not in said and "new in" in said


@pytest.mark.parametrize("sample", [{}, {"sample_every_n_steps": 2, "sample_prompts": ["x --s 1"]}])
def test_cached_text_encoders_leave_the_device_unless_pictures_are_drawn(
    options, monkeypatch, sample
):
    released = []
    monkeypatch.setattr(PipelineBase, "release_text_encoders", lambda self: released.append(self))
    train_in_terminal(config(options, cache_text_encoder_outputs=True, **sample))
    assert len(released) == (not sample)


def test_a_released_text_encoder_is_fetched_back_when_it_encodes(options, tiny_base, monkeypatch):
    base = PipelineBase(config(options))
    pipeline = base.pipeline
    expected = base.encode_text(["a"])
    moved = []
    monkeypatch.setattr(type(pipeline), "device", property(lambda self: torch.device("meta")))
    monkeypatch.setattr(pipeline.text_encoder, "to", moved.append)
    monkeypatch.setattr(type(pipeline), "encode_text", lambda self, captions, skip: expected)
    base.encode_text(["a"])
    base.release_text_encoders()
    # Fetched to where the U-Net is; released to where it lies already: nothing to do.
    assert moved == [torch.device("meta")]


def test_caches_write_nothing_into_the_folders_of_pictures(options, pictures):
    before = sorted(pictures.rglob("*"))
    train_in_terminal(config(options, **ON_DISK))
    assert sorted(pictures.rglob("*")) == before


def test_a_run_may_be_continued_with_other_caches(options):
    train_in_terminal(config(options))
    longer = tensors(options, max_train_steps=5, cache_dir="", **ON_DISK)
    assert same(tensors(options, max_train_steps=5, output_name="whole"), longer)


def test_cache_identities_follow_weights_clip_skip_and_precision(options):
    def both(base):
        return base.identity("vae"), base.identity("text")

    base = PipelineBase(config(options))
    vae, text = both(base)
    skipped = PipelineBase(config(options, clip_skip=2))
    assert skipped.identity("vae") == vae and skipped.identity("text") != text
    for name, value in (("max_token_length", 150), ("weighted_captions", True)):
        other = PipelineBase(config(options, **{name: value}))
        assert other.identity("vae") == vae and other.identity("text") != text
    pipeline = base.pipeline
    with torch.no_grad():
        next(pipeline.unet.parameters()).add_(1.0)
        assert both(base) == (vae, text)
        next(pipeline.vae.parameters()).mul_(1.001)
        next(pipeline.text_encoder.parameters()).mul_(1.001)
    assert base.identity("vae") != vae and base.identity("text") != text
    half = both(PipelineBase(config(options, mixed_precision="bf16")))
    assert half[0] != vae and half[1] != text


def test_the_cache_lies_beside_the_results_or_in_cache_dir(options, tmp_path):
    assert cache_folder(config(options)) == tmp_path / "out" / "cache"
    assert cache_folder(config(options, cache_dir=str(tmp_path / "x"))) == tmp_path / "x"


@pytest.mark.parametrize("cache", ["cache_text_encoder_outputs", *list(ON_DISK)[1:]])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shuffle_caption", True),
        ("enable_wildcard", True),
        ("caption_tag_dropout_rate", 0.1),
        ("token_warmup_step", 0.1),
    ],
)
def test_captions_that_change_cannot_be_cached(options, cache, name, value):
    with pytest.raises(ConfigError, match=f"remove one of {cache} and {name}") as caught:
        config(options, **{cache: True, name: value})
    assert f"{name} = {str(value).lower()}" in str(caught.value)


def test_a_cache_with_dropped_captions_gives_the_adapter_of_a_run_without_one(options, capsys):
    dropping = {"caption_dropout_rate": 0.5, "max_train_steps": 6}
    expected = tensors(options, output_name="plain", **dropping)
    assert not same(tensors(options, output_name="none", max_train_steps=6), expected)
    assert same(tensors(options, output_name="disk", **ON_DISK, **dropping), expected)
    assert "captions: 0 found, 7 new in" in capsys.readouterr().err  # six and the empty one


def test_cached_variants_are_encoded_once_and_a_run_on_them_can_be_continued(options, capsys):
    variants = {"shuffle_caption": True, "caption_variants": 3, **ON_DISK}
    whole = tensors(options, output_name="whole", max_train_steps=5, **variants)
    new = int(capsys.readouterr().err.split("captions: 0 found, ")[1].split()[0])
    assert 6 < new <= 6 * 3
    train_in_terminal(config(options, **variants))
    assert f"captions: {new} found, 0 new" in capsys.readouterr().err
    assert same(tensors(options, max_train_steps=5, **variants), whole)
    without = {"shuffle_caption": True, "caption_variants": 3, "max_train_steps": 5}
    assert same(tensors(options, output_name="without", **without), whole)
    with pytest.raises(ConfigError, match="caption_variants was 3, is 4"):
        train_in_terminal(config(options, **{**variants, "caption_variants": 4}))


def test_long_and_weighted_captions_are_cached_and_recorded(options, pictures):
    for path in pictures.rglob("*.txt"):
        path.write_text("(cat:1.5), " * 20, encoding="utf-8")
    plain = tensors(options, output_name="plain")
    for changes in ({"max_token_length": 225}, {"weighted_captions": True}):
        expected = tensors(options, output_name="expected", overwrite=True, **changes)
        assert not same(plain, expected)
        path = train_in_terminal(config(options, output_name="disk", **changes, **ON_DISK))
        state = load_adapter(path)
        assert same(state.tensors, expected)
        length = changes.get("max_token_length")
        assert state.metadata["ss_max_token_length"] == str(length)
        (name,) = changes
        assert f"{name} = " in state.metadata["lycoris_ext_config"]
        longer = {"output_name": "disk", "max_train_steps": 5}
        with pytest.raises(ConfigError, match=f"{name} was"):
            train_in_terminal(config(options, **longer))
        path.with_suffix(".state").unlink()
        path.unlink()


def test_the_length_of_a_run_is_fixed_while_captions_follow_it(options):
    train_in_terminal(config(options, token_warmup_step=0.5))
    with pytest.raises(ConfigError, match="max_train_steps was 3, is 5"):
        train_in_terminal(config(options, token_warmup_step=0.5, max_train_steps=5))


def test_a_run_with_a_warm_up_of_tags_goes_on_bit_for_bit(options):
    warmed = {"token_warmup_step": 4, "gradient_accumulation_steps": 2, "max_train_steps": 5}
    whole = tensors(options, output_name="whole", **warmed)
    train_in_terminal(config(options, **{**warmed, "max_train_steps": 2}))
    assert same(tensors(options, **warmed), whole)


def test_a_trained_text_encoder_cannot_be_cached(options):
    del options["network_train_unet_only"]
    with pytest.raises(ConfigError, match="the text encoder, which changes it, is trained") as c:
        config(options, cache_text_encoder_outputs=True)
    assert "cache_text_encoder_outputs" in str(c.value)
    assert "set network_train_unet_only = true" in str(c.value)
    config(options, cache_text_encoder_outputs=True, text_encoder_lr=0.0)


def test_regularisation_reaches_the_metadata_and_masks_lower_the_loss(
    options, tmp_path, pictures, capsys
):
    reg = tmp_path / "reg" / "1_shape"
    reg.mkdir(parents=True)
    for number in range(2):
        write_picture(reg / f"{number}.png", 60 + number)
    adapter = load_adapter(train_in_terminal(config(options, reg_data_dir=str(tmp_path / "reg"))))
    assert adapter.metadata["ss_num_train_images"] == "12"
    assert adapter.metadata["ss_num_reg_images"] == "12"
    assert json.loads(adapter.metadata["ss_reg_dataset_dirs"]) == {
        "1_shape": {"n_repeats": 6, "img_count": 2}
    }
    assert str(tmp_path) not in json.dumps(adapter.metadata)
    assert "1_shape (regularisation)" in capsys.readouterr().err
    for path in (pictures / "2_shapes").glob("*.png"):
        picture = Image.open(path).convert("RGBA")
        picture.putalpha(64)
        picture.save(path)
    losses = {}
    for masked in (True, False):
        name = f"masked {masked}"
        train_in_terminal(config(options, output_name=name, alpha_mask=masked))
        curve = loss_curve(tmp_path / "out" / f"{name}.events.jsonl")
        losses[masked] = [loss for _, loss in curve]
    # A quarter opaque counts a quarter; the pictures differ, too (white or not), but little.
    assert all(0.15 < a / b < 0.4 for a, b in zip(losses[True], losses[False], strict=True))


def test_a_run_prints_folders_buckets_and_totals_at_its_start(options, capsys):
    train_in_terminal(config(options))
    said = capsys.readouterr().err
    assert '2_shapes         6        12         6  "by tester, red, square, bright' in said
    assert "buckets: 32x32: 12" in said
    assert "6 pictures, 12 per epoch, 12 batches per epoch" in said
