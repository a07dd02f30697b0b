"""Whole runs on a tiny base: what they write, what they refuse, how they stop and go on."""

from __future__ import annotations

import json
import math
import signal

import pytest
import torch

from lycoris_ext.config import OptionSource, build_config
from lycoris_ext.errors import (
    ConfigError,
    DataError,
    DivergedError,
    EnvironmentFault,
    RunInterrupted,
)
from lycoris_ext.formats import load_adapter
from lycoris_ext.network import Banks, load_network
from lycoris_ext.runs.events import read_events
from lycoris_ext.runs.state import load_state
from lycoris_ext.training import train as recipe
from lycoris_ext.training.batch_loss import BatchLoss
from lycoris_ext.training.terminal import train_in_terminal
from tests.recorded import loss_curve
from tests.tiny_pictures import write_pictures


def run(options, **changes):
    return train_in_terminal(build_config([OptionSource("test", {**options, **changes})]))


def test_a_run_writes_adapter_checkpoints_pictures_events_and_config(options, tmp_path):
    path = run(
        options,
        save_every_n_steps=2,
        sample_every_n_steps=2,
        sample_at_first=True,
        sample_prompts=["cat --s 2", "dog --s 2 --l 1"],
    )
    out = tmp_path / "out"
    assert path == out / "test.safetensors"
    assert sorted(p.name for p in out.iterdir()) == [
        "sample",
        "test-step-2.safetensors",
        "test-step-4.safetensors",
        "test.dataset.json.gz",
        "test.events.jsonl",
        "test.safetensors",
        "test.state",
        "test.toml",
    ]
    assert sorted(p.name for p in (out / "sample").iterdir()) == [
        f"test-step-{step}-{number:02d}.png" for step in (0, 2, 4) for number in (0, 1)
    ]
    curve = loss_curve(out / "test.events.jsonl")
    assert [step for step, _ in curve] == [1, 2, 3, 4]
    assert all(0.1 < loss < 5.0 for _, loss in curve)
    assert 'output_name = "test"' in (out / "test.toml").read_text("utf-8")
    checkpoint = load_adapter(out / "test-step-4.safetensors").tensors
    final = load_adapter(path).tensors
    assert all(torch.equal(final[key], checkpoint[key]) for key in final)


def test_the_trained_adapter_loads_and_changes_the_output(options, tiny_base):
    from lycoris_ext.models import ModelConfig, load_pipeline

    path = run(options)
    pipeline = load_pipeline(ModelConfig(pretrained_model_name_or_path=str(tiny_base)), "cpu")
    network = load_network(path, pipeline.targets())
    assert {site.target for site in network.sites.values()} == {"unet", "text_encoder"}
    latents, timestep = torch.randn(1, 4, 8, 8), torch.tensor([500])
    with torch.no_grad():
        text = pipeline.encode_text(["cat"]).states
        plain = pipeline.unet(latents, timestep, encoder_hidden_states=text).sample
        with network.injected():
            trained = pipeline.unet(latents, timestep, encoder_hidden_states=text).sample
    assert not torch.equal(plain, trained)


def test_metadata_tell_what_was_trained_and_name_no_folder(options, tmp_path):
    metadata = load_adapter(run(options, conv_dim=2)).metadata
    assert metadata["ss_network_module"] == "lycoris_ext.kohya"
    assert metadata["ss_network_dim"] == "4"
    assert json.loads(metadata["ss_network_args"])["algo"] == "loha"
    assert json.loads(metadata["ss_network_args"])["conv_dim"] == "2"
    assert metadata["ss_steps"] == "4"
    assert metadata["ss_num_train_images"] == "12"
    assert json.loads(metadata["ss_tag_frequency"])["2_shapes"]["by tester"] == 6
    assert json.loads(metadata["ss_dataset_dirs"]) == {"2_shapes": {"n_repeats": 2, "img_count": 6}}
    assert len(metadata["ss_new_sd_model_hash"]) == 64
    assert 'train_data_dir = "pictures"' in metadata["lycoris_ext_config"]
    assert str(tmp_path) not in json.dumps(metadata)


def test_two_equal_runs_write_the_same_bytes(options, tmp_path):
    first = run(options, output_dir=str(tmp_path / "a"), shuffle_caption=True)
    second = run(options, output_dir=str(tmp_path / "b"), shuffle_caption=True)
    assert first.read_bytes() == second.read_bytes()
    third = run(options, output_dir=str(tmp_path / "c"), shuffle_caption=True, seed=1)
    assert first.read_bytes() != third.read_bytes()


def test_sample_pictures_do_not_change_the_adapter(options, tmp_path):
    plain = run(options, output_dir=str(tmp_path / "a"), dropout=0.2)
    drawn = run(
        options,
        output_dir=str(tmp_path / "b"),
        dropout=0.2,
        sample_every_n_steps=1,
        sample_prompts=["cat --s 1"],
    )
    ours, theirs = load_adapter(plain).tensors, load_adapter(drawn).tensors
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_gradient_checkpointing_does_not_change_the_adapter(options, tmp_path):
    plain = run(options, output_dir=str(tmp_path / "a"), dropout=0.2)
    saved = run(options, output_dir=str(tmp_path / "b"), dropout=0.2, gradient_checkpointing=True)
    ours, theirs = load_adapter(plain).tensors, load_adapter(saved).tensors
    assert all(torch.allclose(ours[key], theirs[key], atol=1e-4) for key in ours)


def test_a_run_in_bf16_writes_an_adapter(options):
    assert run(options, mixed_precision="bf16", max_train_steps=2).exists()


def test_text_encoder_rate_0_trains_the_unet_alone(options):
    state = load_adapter(run(options, text_encoder_lr=0.0))
    assert all(key.startswith("lora_unet_") for key in state.tensors)


def test_unet_rate_0_trains_the_text_encoder_alone(options):
    state = load_adapter(run(options, unet_lr=0.0))
    assert all(key.startswith("lora_te_") for key in state.tensors)


def test_pictures_of_several_shapes_train_in_their_own_buckets(options, pictures, capsys):
    write_pictures(pictures / "x", count=3, repeats=1, size=(128, 32))
    (pictures / "x" / "1_shapes").rename(pictures / "1_wide")
    (pictures / "x").rmdir()
    path = run(options, train_batch_size=4, max_train_epochs=1)
    said = capsys.readouterr().err
    assert "buckets: 32x32: 12, 64x16: 3\n" in said
    assert "9 pictures, 15 per epoch, 4 batches per epoch" in said
    buckets = json.loads(load_adapter(path).metadata["ss_bucket_info"])["buckets"]
    assert buckets["1"] == {"resolution": [64, 16], "count": 3}


def test_max_train_epochs_decides_the_number_of_steps(options):
    path = run(options, max_train_epochs=1, train_batch_size=4, save_every_n_epochs=1)
    assert load_adapter(path).metadata["ss_steps"] == "3"
    assert path.with_name("test-step-3.safetensors").exists()


def test_precomputed_factors_of_a_step_do_not_change_the_losses(options, tmp_path, monkeypatch):
    """Only the order of sums differs; sample pictures in between change nothing."""
    options = {**options, "gradient_accumulation_steps": 3, "network_dim": 2}
    shared = run(options, output_dir=str(tmp_path / "a"))
    drawn = run(
        options,
        output_dir=str(tmp_path / "b"),
        sample_every_n_steps=1,
        sample_prompts=["cat --s 1"],
    )
    groups = []

    def none(layers):
        groups.append(len(Banks(layers).groups))
        return Banks(())

    monkeypatch.setattr(recipe, "Banks", none)
    plain = run(options, output_dir=str(tmp_path / "c"))
    assert groups[0] > 0
    ours, alike = (load_adapter(path).tensors for path in (shared, drawn))
    assert all(torch.equal(ours[key], alike[key]) for key in ours)
    together, apart = (
        [
            (event["loss"], event["grad_norm"])
            for event in read_events(path.with_name("test.events.jsonl"))
            if event["event"] == "step"
        ]
        for path in (shared, plain)
    )
    assert len(together) == 4
    torch.testing.assert_close(together, apart, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("accumulation", [1, 3])
def test_ctrl_c_saves_and_the_same_command_goes_on_byte_for_byte(
    options, tmp_path, monkeypatch, capsys, accumulation
):
    changes = {"gradient_accumulation_steps": accumulation, "rank_dropout": 0.2, "network_dim": 2}
    options = {**options, **changes}
    whole = run(options, output_dir=str(tmp_path / "whole"), max_train_steps=6)
    step = recipe.train_step

    def interrupted(batch_loss, plans, *rest, **settings):
        if plans[0].number == 2 * accumulation:
            signal.raise_signal(signal.SIGINT)
        return step(batch_loss, plans, *rest, **settings)

    monkeypatch.setattr(recipe, "train_step", interrupted)
    with pytest.raises(RunInterrupted, match="stopped after step 3 of 6") as caught:
        run(options, max_train_steps=6)
    assert "run the same again to continue" in str(caught.value)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.setattr(recipe, "train_step", step)
    continued = run(options, max_train_steps=6)
    assert "continuing after step 3 of 6" in capsys.readouterr().err
    assert continued.read_bytes() == whole.read_bytes()
    events = list(read_events(continued.with_name("test.events.jsonl")))
    assert [e["step"] for e in events if e["event"] == "step"] == [1, 2, 3, 4, 5, 6]


def test_a_loss_that_is_nan_stops_with_step_batch_and_files(options, monkeypatch):
    path = run(options, max_train_steps=2)
    before = path.read_bytes()
    real = BatchLoss.__call__

    def broken(self, plan):
        return real(self, plan) * (math.nan if plan.number == 3 else 1.0)

    monkeypatch.setattr(BatchLoss, "__call__", broken)
    with pytest.raises(DivergedError, match="the loss is nan in step 4, batch 3") as caught:
        run(options, max_train_steps=6)
    assert "2_shapes" in str(caught.value) and ".png" in str(caught.value)
    assert "learning_rate" in str(caught.value)
    assert path.read_bytes() == before
    assert load_state(path.with_name("test.state")).progress.step == 2


def test_fp16_without_a_gpu_is_refused(options):
    with pytest.raises(ConfigError, match="fp16 training needs a CUDA GPU") as caught:
        run(options, mixed_precision="fp16")
    assert "bf16" in str(caught.value)


def test_a_missing_gpu_is_refused(options, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EnvironmentFault, match="finds no GPU"):
        run(options, device="cuda")


def test_an_output_dir_that_cannot_be_made_is_refused(options, tmp_path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(EnvironmentFault, match="the folder cannot be made") as caught:
        run(options, output_dir=str(tmp_path / "file" / "out"))
    assert "choose another output_dir" in str(caught.value)


def test_a_refused_run_leaves_no_folder_behind(options, tmp_path):
    with pytest.raises(DataError):
        run(options, train_data_dir=str(tmp_path / "nothing"))
    assert not (tmp_path / "out").exists()


def test_temporary_files_of_a_killed_run_are_removed(options, tmp_path):
    (tmp_path / "out").mkdir()
    for name in (".test.state.99.tmp", ".test-step-2.safetensors.99.tmp", ".other.state.9.tmp"):
        (tmp_path / "out" / name).write_bytes(b"half")
    run(options)
    left = [path.name for path in (tmp_path / "out").iterdir() if path.name.endswith(".tmp")]
    assert left == [".other.state.9.tmp"]


def test_a_damaged_picture_is_named_before_the_model_is_loaded(options, pictures):
    (pictures / "2_shapes" / "02.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"02\.png"):
        run(options, pretrained_model_name_or_path="not/there")


def test_a_resolution_that_does_not_fit_the_base_is_refused(options):
    with pytest.raises(ConfigError, match="30x30 pixels are no multiple of the base model's 4"):
        run(options, resolution=30, enable_bucket=False)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"output_name": "a/b"}, "no file name"),
        ({"output_name": "x.safetensors"}, 'write "x"'),
        ({"max_train_steps": 0}, "max_train_steps is 0"),
        ({"mixed_precision": "fp8"}, "use one of no, bf16, fp16"),
        ({"save_precision": "int8"}, "save_precision 'int8'"),
        ({"seed": -1}, "seed is -1"),
        ({"device": "gpu"}, "device 'gpu' is unknown"),
        ({"scale_weight_norms": 0.0}, "scale_weight_norms is 0.0, expected a number above 0"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0, expected a number from 0 to below 1"),
    ],
)
def test_wrong_options_of_a_run_are_refused(options, changes, said):
    with pytest.raises(ConfigError) as caught:
        run(options, **changes)
    assert said in str(caught.value)
