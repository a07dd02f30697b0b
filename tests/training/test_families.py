"""Runs on SD2, with velocity too, and on SDXL: the step, the adapter's file, and pictures."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from lycoris_ext.config import OptionSource, build_config
from lycoris_ext.data import open_training_set
from lycoris_ext.data.latents import cache_latents
from lycoris_ext.formats import load_adapter
from lycoris_ext.models import ModelConfig, load_pipeline, part_configs
from lycoris_ext.network import build_network
from lycoris_ext.sampling.adapters import AdapterUse
from lycoris_ext.sampling.draw import draw
from lycoris_ext.sampling.specs import PromptSpec
from lycoris_ext.training.batch_loss import BatchLoss
from lycoris_ext.training.pipeline_base import PipelineBase
from lycoris_ext.training.terminal import train_in_terminal
from lycoris_ext.training.text import TextCache
from tests.recorded import loss_curve
from tests.single_files import single_file
from tests.tiny_pictures import write_pictures
from tests.tiny_pipeline import write_tiny_folder


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    root = tmp_path_factory.mktemp("bases")
    return {name: write_tiny_folder(root / name, family=name) for name in ("sd1", "sd2", "sdxl")}


@pytest.fixture
def options(tmp_path):
    # Wider than high: cut at both sides, which SDXL is told.
    return {
        "train_data_dir": str(write_pictures(tmp_path / "pictures", size=(60, 36))),
        "output_dir": str(tmp_path / "out"),
        "output_name": "test",
        "resolution": 32,
        "algo": "lora",
        "network_dim": 2,
        "preset": "attn-only",
        "learning_rate": 1e-2,
        "optimizer_type": "AdamW",
        "max_train_steps": 3,
        "device": "cpu",
        "sample_prompts": ["cat --s 2"],
        "sample_every_n_steps": 3,
    }


def test_a_run_on_a_single_file_equals_one_on_its_folder(options, tmp_path, monkeypatch):
    """The file is a .ckpt with CLIP's real vocabulary, and takes its configs from the family."""
    folder = write_tiny_folder(tmp_path / "configs" / "sd1", clip_words=True)
    monkeypatch.setattr(part_configs, "CONFIGS", folder.parent)
    whole = load_pipeline(ModelConfig(pretrained_model_name_or_path=str(folder)), "cpu")
    encoders = list(whole.text_encoders().values())
    stored = single_file(whole.family, whole.unet, whole.vae, encoders)
    torch.save({"state_dict": stored}, tmp_path / "base.ckpt")
    adapters = []
    for base in (str(tmp_path / "base.ckpt"), str(folder)):
        changes = {"pretrained_model_name_or_path": base, "output_name": Path(base).stem}
        config = build_config([OptionSource("test", {**options, **changes})])
        adapters.append(load_adapter(train_in_terminal(config)))
    ours, theirs = (adapter.tensors for adapter in adapters)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert adapters[0].metadata["ss_sd_model_name"] == "base.ckpt"
    digest = hashlib.sha256((tmp_path / "base.ckpt").read_bytes()).hexdigest()
    assert adapters[0].metadata["ss_new_sd_model_hash"] == digest


@pytest.mark.parametrize(
    ("family", "changes", "version"),
    [
        ("sd2", {}, "sd_v2"),
        ("sd2", {"v_parameterization": True, "v2": True}, "sd_v2_v"),
        ("sdxl", {}, "sdxl_base_v1-0"),
        ("sdxl", {"gradient_checkpointing": True, "mixed_precision": "bf16"}, "sdxl_base_v1-0"),
        ("sdxl", {"network_train_unet_only": True}, "sdxl_base_v1-0"),
    ],
)
def test_a_run_on_sd2_and_sdxl_writes_an_adapter_that_changes_pictures(
    bases, options, tmp_path, family, changes, version
):
    base = str(bases[family])
    config = build_config(
        [OptionSource("test", {**options, "pretrained_model_name_or_path": base, **changes})]
    )
    path = train_in_terminal(config)
    losses = [loss for _, loss in loss_curve(tmp_path / "out" / "test.events.jsonl")]
    assert len(losses) == 3
    assert all(0.1 < loss < 5 for loss in losses)
    metadata = load_adapter(path).metadata
    assert metadata["ss_base_model_version"] == version
    assert metadata["ss_v2"] == str(family == "sd2")
    assert (tmp_path / "out" / "sample" / "test-step-3-00.png").is_file()
    model = ModelConfig(
        pretrained_model_name_or_path=base, v_parameterization=changes.get("v_parameterization")
    )
    pipeline = load_pipeline(model, "cpu")
    spec = PromptSpec("cat", steps=2)
    drawn = draw(pipeline, [spec], [AdapterUse(path)])[0].picture
    assert drawn.size == (32, 32)
    assert drawn.tobytes() != draw(pipeline, [spec])[0].picture.tobytes()


def test_both_text_encoders_of_xl_are_trained(bases, options):
    config = build_config(
        [OptionSource("test", {**options, "pretrained_model_name_or_path": str(bases["sdxl"])})]
    )
    pipeline = load_pipeline(config.model, "cpu")
    network = build_network(pipeline.targets(), config.effective_network)
    targets = {site.target for site in network.sites.values()}
    assert targets == {"unet", "text_encoder", "text_encoder_2"}
    attention = 3 * 4  # layers times query, key, value and output
    second = [site for site in network.sites.values() if site.target == "text_encoder_2"]
    assert len(second) == attention, "the preset's layers, not all"
    rates = {g["name"]: g["lr"] for g in network.param_groups(1e-4, 2e-4, 5e-5)}
    assert rates == {"unet": 2e-4, "text_encoder": 5e-5, "text_encoder_2": 5e-5}


def batch_loss(base, options, **changes):
    values = {**options, "pretrained_model_name_or_path": str(base), **changes}
    config = build_config([OptionSource("test", values)])
    base = PipelineBase(config)
    training_set = open_training_set(config.data, config.run.seed)
    latents = cache_latents(training_set, base.encode_pixels)
    network = build_network(base.targets(), config.effective_network)
    return BatchLoss(config, base, network, latents, TextCache(base)), training_set


def test_v_parameterization_changes_the_target_and_no_input_of_the_unet(bases, options):
    """U-Net, noise and pictures are the same: only the target of the loss differs."""
    noise, training_set = batch_loss(bases["sd2"], options)
    velocity, _ = batch_loss(bases["sd2"], options, v_parameterization=True)
    asked = {}
    for name, loss in (("noise", noise), ("velocity", velocity)):
        seen = []
        real = loss.base.pipeline.predict
        loss.base.pipeline.predict = lambda *given, seen=seen, real=real: (
            seen.append(given) or real(*given)
        )
        with torch.no_grad():
            value = float(loss(training_set.batch_at(0)))
        asked[name] = (seen[0], value)
    (first, noise_loss), (second, velocity_loss) = asked.values()
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert noise_loss != velocity_loss


def test_xl_gets_the_original_size_and_the_crop_of_each_picture(bases, options):
    loss, training_set = batch_loss(
        bases["sdxl"], options, flip_aug=True, train_batch_size=2, max_bucket_reso=64
    )
    seen = []
    real = loss.base.pipeline.unet.forward
    loss.base.pipeline.unet.forward = lambda *args, **kwargs: (
        seen.append(kwargs["added_cond_kwargs"]["time_ids"]) or real(*args, **kwargs)
    )
    plan = training_set.batch_at(0)
    with torch.no_grad():
        loss(plan)
    crop = training_set.crops[plan.pictures[0]]
    left, top, _, _ = crop.crop_box
    assert seen[0].tolist()[0][:2] == [36, 60], "height and width before scaling"
    assert seen[0].tolist()[0][2] == top
    assert seen[0].tolist()[0][3] in (left, crop.resized[0] - left - crop.bucket[0])
    assert seen[0].tolist()[0][4:] == [crop.bucket[1], crop.bucket[0]]


def test_captions_of_an_untrained_text_encoder_are_encoded_once(bases, options, monkeypatch):
    loss, _ = batch_loss(bases["sdxl"], options, network_train_unet_only=True)
    calls = []
    real = loss.base.pipeline.encode_text
    monkeypatch.setattr(
        loss.base.pipeline, "encode_text", lambda *given: calls.append(given[0]) or real(*given)
    )
    assert not loss.trains_text
    first = loss.texts(("cat", "dog"), gradients=False)
    again = loss.texts(("dog", "cat"), gradients=False)
    assert calls == [["cat"], ["dog"]]
    assert torch.equal(first.states, again.states.flip(0))
    assert torch.equal(first.pooled, again.pooled.flip(0))


def test_options_of_the_model_and_the_network_are_in_the_metadata(bases, options):
    values = {
        **options,
        "pretrained_model_name_or_path": str(bases["sd2"]),
        "v_parameterization": True,
        "max_train_steps": 1,
    }
    path = train_in_terminal(build_config([OptionSource("test", values)]))
    metadata = load_adapter(path).metadata
    assert "v_parameterization = true" in metadata["lycoris_ext_config"]
    assert json.loads(metadata["ss_network_args"])["algo"] == "lora"
