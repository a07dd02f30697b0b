"""What options do to a whole run: schedules, noise, loss, average, norms, memory."""

from __future__ import annotations

import dataclasses
import signal

import pytest
import torch

from lycoris_ext.data import TrainingSet
from lycoris_ext.errors import ConfigError, DataError, MemoryFault, RunInterrupted
from lycoris_ext.formats import load_adapter
from lycoris_ext.models import Pipeline
from lycoris_ext.network import load_network
from lycoris_ext.runs.events import read_events
from lycoris_ext.training import train as recipe
from lycoris_ext.training.terminal import Terminal
from tests.recorded import loss_curve


@pytest.fixture
def stopped_after_2(monkeypatch):
    """Interrupt the next run of the test after two steps."""
    step = recipe.train_step

    def interrupted(batch_loss, plans, *rest, **settings):
        if plans[-1].number + 1 == 2 * len(plans):
            monkeypatch.setattr(recipe, "train_step", step)
            signal.raise_signal(signal.SIGINT)
        return step(batch_loss, plans, *rest, **settings)

    monkeypatch.setattr(recipe, "train_step", interrupted)


CONTINUED = {
    **{f"lr_scheduler {name}": {"lr_scheduler": name} for name in ("linear", "cosine", "rex")},
    "restarts": {"lr_scheduler": "cosine_with_restarts", "lr_scheduler_num_cycles": 2},
    "polynomial": {"lr_scheduler": "polynomial", "lr_scheduler_power": 2.0, "lr_warmup_steps": 1},
    "min_lr": {"lr_scheduler": "cosine_with_min_lr", "lr_scheduler_min_lr_ratio": 0.1},
    "inverse_sqrt": {"lr_scheduler": "inverse_sqrt", "lr_warmup_steps": 2},
    "decay": {"lr_scheduler": "warmup_stable_decay", "lr_decay_steps": 2},
    "noise": {
        "noise_offset": 0.1,
        "noise_offset_random_strength": True,
        "adaptive_noise_scale": 0.01,
        "multires_noise_iterations": 4,
        "ip_noise_gamma": 0.1,
        "ip_noise_gamma_random_strength": True,
        "min_timestep": 100,
        "max_timestep": 900,
    },
    "timesteps": {
        "timestep_distribution": "logit_normal",
        "noising_bias": 1.0,
        "timestep_shift": 2.0,
        "loss_weight": 0.5,
    },
    "weights": {"min_snr_gamma": 5, "debiased_estimation_loss": True, "loss_type": "smooth_l1"},
    "velocity": {
        "v_parameterization": True,
        "zero_terminal_snr": True,
        "scale_v_pred_loss_like_noise_pred": True,
    },
    "average and max norm": {"ema_decay": 0.9, "scale_weight_norms": 0.01},
}


@pytest.mark.parametrize("name", CONTINUED)
def test_a_stopped_run_goes_on_byte_for_byte_with_every_option(
    run, tmp_path, stopped_after_2, name
):
    with pytest.raises(RunInterrupted, match="stopped after step 2 of 4"):
        run(**CONTINUED[name])
    continued = run(**CONTINUED[name])
    whole = run(**CONTINUED[name], output_dir=str(tmp_path / "whole"))
    stopped = set(continued.parent.glob("test-step-2*.safetensors"))
    assert stopped, "the adapter as it was when the run was stopped"
    kept = set(continued.parent.iterdir()) - stopped
    assert {path.name for path in kept} == {path.name for path in whole.parent.iterdir()}
    for path in (path for path in kept if path.suffix == ".safetensors"):
        assert path.read_bytes() == (whole.parent / path.name).read_bytes()
    plain = run(output_dir=str(tmp_path / "plain"))
    ours, theirs = load_adapter(whole).tensors, load_adapter(plain).tensors
    assert any(not torch.equal(ours[key], theirs[key]) for key in ours)


def test_learning_rates_are_logged_as_scheduled(run):
    path = run(lr_scheduler="linear", text_encoder_lr=1e-4)
    events = read_events(path.with_name("test.events.jsonl"))
    rates = [event["learning_rates"] for event in events if event["event"] == "step"]
    assert [rate["unet"] for rate in rates] == pytest.approx([1e-3, 7.5e-4, 5e-4, 2.5e-4])
    assert [rate["text_encoder"] for rate in rates] == pytest.approx([1e-4, 7.5e-5, 5e-5, 2.5e-5])


def test_ema_decay_writes_the_average_to_a_file_of_its_own(run, tmp_path):
    path = run(ema_decay=0.99, save_every_n_steps=2, save_precision="float")
    plain = run(output_dir=str(tmp_path / "plain"), save_precision="float")
    averaged = load_adapter(path.with_name("test-ema.safetensors"))
    assert path.with_name("test-step-2-ema.safetensors").exists()
    own = load_adapter(path)
    for key, tensor in load_adapter(plain).tensors.items():
        assert torch.equal(own.tensors[key], tensor)
    assert averaged.metadata["ss_steps"] == "4"
    assert averaged.tensors.keys() == own.tensors.keys()
    moved = [key for key in own.tensors if not torch.equal(own.tensors[key], averaged.tensors[key])]
    assert len(moved) > len(own.tensors) / 2
    with pytest.raises(DataError, match="exist already"):
        path.unlink()
        path.with_name("test.state").unlink()
        run(ema_decay=0.99)


def test_scale_weight_norms_limits_the_norm_of_every_layer(run, tiny_base):
    from lycoris_ext.models import ModelConfig, load_pipeline

    path = run(scale_weight_norms=0.002, save_precision="float", learning_rate=1e-2)
    targets = load_pipeline(
        ModelConfig(pretrained_model_name_or_path=str(tiny_base)), "cpu"
    ).targets()
    layers = load_network(path, targets).layers.values()
    norms = [float(layer.delta().dense().norm()) for layer in layers]
    assert max(norms) == pytest.approx(0.002, rel=1e-4)
    events = read_events(path.with_name("test.events.jsonl"))
    counts = [event["scaled_layers"] for event in events if event["event"] == "step"]
    assert counts[-1] > 0


def test_prior_loss_weight_scales_the_loss_of_regularisation_pictures(run, tmp_path, monkeypatch):
    plan_of = TrainingSet.batch_at

    def second_is_reg(self, number):
        return dataclasses.replace(plan_of(self, number), is_reg=(number == 1,))

    plain = run(output_dir=str(tmp_path / "plain"), max_train_steps=2)
    monkeypatch.setattr(TrainingSet, "batch_at", second_is_reg)
    path = run(prior_loss_weight=0.25, max_train_steps=2)
    losses = dict(loss_curve(path.with_name("test.events.jsonl")))
    expected = dict(loss_curve(plain.with_name("test.events.jsonl")))
    assert losses[1] == expected[1]
    assert losses[2] == pytest.approx(0.25 * expected[2])


def test_loss_weight_scales_the_loss_of_the_pictures_of_its_folder(run, tmp_path):
    plain = run(output_dir=str(tmp_path / "plain"), max_train_steps=1)
    path = run(loss_weight=0.25, max_train_steps=1)
    losses = dict(loss_curve(path.with_name("test.events.jsonl")))
    expected = dict(loss_curve(plain.with_name("test.events.jsonl")))
    assert losses[1] == pytest.approx(0.25 * expected[1])
    assert "loss_weight = 0.25" in load_adapter(path).metadata["lycoris_ext_config"]


def test_sample_pictures_of_a_velocity_base_use_the_schedule_of_its_training(
    run, tmp_path, monkeypatch
):
    seen = []
    real = Terminal.draw

    def remember(self, *rest):
        pipeline = self.base.pipeline
        seen.append((pipeline.schedule_config, pipeline.noise_schedule.alphas_cumprod[-1]))
        return real(self, *rest)

    monkeypatch.setattr(Terminal, "draw", remember)
    run(
        v_parameterization=True,
        zero_terminal_snr=True,
        sample_at_first=True,
        sample_every_n_epochs=1,
        sample_prompts=["cat --s 2", "cat --s 2 --ss ddim"],
        train_batch_size=6,
    )
    assert len(seen) == 3  # before the first of 4 steps, and after the two epochs of 2
    config, last = seen[0]
    assert config["prediction_type"] == "v_prediction" and config["rescale_betas_zero_snr"]
    assert float(last) == 0.0


def test_an_option_for_another_kind_of_prediction_is_refused(run):
    with pytest.raises(ConfigError, match="the base predicts epsilon"):
        run(zero_terminal_snr=True)


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_out_of_memory_says_what_to_change(run, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(recipe, "train_step", fail)
    with pytest.raises(MemoryFault, match="out of memory") as caught:
        run(train_batch_size=3)
    text = str(caught.value)
    assert "gradient_checkpointing = true; train_batch_size below 3" in text
    assert 'optimizer_type = "AdamW8bit"; resolution below 32' in text
    assert "what was saved before is unharmed" in text
    error = RuntimeError("bug")
    with pytest.raises(RuntimeError, match="bug"):
        run(output_name="other")


def test_a_preview_that_became_nan_is_told_and_the_run_goes_on(run, monkeypatch, capsys):
    decode = Pipeline.decode_pixels
    monkeypatch.setattr(Pipeline, "decode_pixels", lambda *given: decode(*given) * torch.nan)
    path = run(sample_every_n_steps=2, sample_prompts=["cat --s 1"])
    said = capsys.readouterr().err
    assert "note: cat: no picture at step 2: was denoised well, and the VAE turned it" in said
    assert path.exists() and not list(path.parent.glob("sample/*.png"))
