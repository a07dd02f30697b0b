"""The rates of a run: schedulers by class, text encoders that stop, and what it adds up to."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lycoris_ext.config import OptionSource, build_config
from lycoris_ext.errors import ConfigError
from lycoris_ext.formats import load_adapter
from lycoris_ext.runs.events import read_events
from lycoris_ext.training.rates import Rates


def rates(total=40, base=(1e-3, 2e-4), **options):
    config = build_config([OptionSource("test", {"learning_rate": 1e-3, **options})])
    return Rates(config, base, total)


@pytest.mark.parametrize(
    ("name", "arguments", "made"),
    [
        ("CosineAnnealingLR", ["T_max=10", "eta_min=1e-5"], {"T_max": 10, "eta_min": 1e-5}),
        (
            "torch.optim.lr_scheduler.StepLR",
            ["step_size=7", "gamma=0.5"],
            {"step_size": 7, "gamma": 0.5},
        ),
        ("CosineAnnealingWarmRestarts", ["T_0=6", "T_mult=2"], {"T_0": 6, "T_mult": 2}),
        ("MultiStepLR", ["milestones=[5, 11]"], {"milestones": [5, 11]}),
    ],
)
def test_a_scheduler_class_gives_each_group_the_rate_that_torch_gives_it(name, arguments, made):
    kind = getattr(torch.optim.lr_scheduler, name.rpartition(".")[2])
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (1e-3, 2e-4)]
    optimizer = torch.optim.SGD(groups)
    scheduler = kind(optimizer, **made)
    ours = rates(lr_scheduler_type=name, lr_scheduler_args=arguments)
    for step in range(40):
        found = [rate * f for rate, f in zip((1e-3, 2e-4), ours.factors(step), strict=True)]
        assert found == pytest.approx(scheduler.get_last_lr(), rel=1e-12)
        optimizer.step()
        scheduler.step()
    # A run that goes on, or a second look at an earlier step.
    again = rates(lr_scheduler_type=name, lr_scheduler_args=arguments)
    assert again.factors(17) == ours.factors(17)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("CosineAnealingLR", [], "did you mean torch.optim.lr_scheduler.CosineAnnealingLR?"),
        ("StepLR", ["step_sizes=3"], "did you mean step_size?"),
        ("StepLR", [], "does not work here"),
        ("OneCycleLR", ["max_lr=1e-3", "total_steps=10", "cycle_momentum=False"], "does not work"),
        ("OneCycleLR", ["max_lr=1e-3", "total_steps=99"], "cycle_momentum=False"),
        ("torch.nn.Linear", [], "is no subclass"),
    ],
)
def test_a_scheduler_that_cannot_be_used_is_refused_before_the_first_step(name, arguments, said):
    with pytest.raises(ConfigError) as caught:
        rates(lr_scheduler_type=name, lr_scheduler_args=arguments).check()
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("options", "mean"),
    [
        ({}, 1.0),
        ({"lr_scheduler": "cosine"}, 0.5),
        ({"lr_scheduler": "cosine_with_restarts", "lr_scheduler_num_cycles": 4}, 0.5),
        ({"lr_scheduler": "linear"}, 0.5),
        ({"lr_scheduler": "piecewise_constant", "lr_scheduler_step_rules": "1:200,0.5"}, 0.6),
        ({"lr_scheduler_type": "StepLR", "lr_scheduler_args": ["step_size=500"]}, 0.55),
    ],
)
def test_the_log_says_what_the_rate_adds_up_to(options, mean):
    found = rates(1000, **options)
    assert found.mean_factor() == pytest.approx(mean, abs=3e-3)
    assert f"as much as {found.mean_factor() * 1000:.6g} at the full rate" in found.describe()


def test_arguments_of_lr_schedulers_of_sd_scripts_are_options():
    given = {"lr_scheduler": "piecewise_constant", "lr_scheduler_args": ["step_rules=1:10,0.1"]}
    assert rates(**given).factors(10) == [0.1, 0.1]
    with pytest.raises(ConfigError, match='lr_scheduler_args = "num_cycles=3"'):
        rates(lr_scheduler="cosine", lr_scheduler_args=["num_cycles=3"])


def test_each_text_encoder_has_its_rate():
    config = build_config([OptionSource("test", {"text_encoder_lr": [5e-5, 0.0]})])
    assert config.optimizer.text_encoder_rates == (5e-5, 0.0)
    assert not config.effective_network.network_train_unet_only
    config = build_config([OptionSource("test", {"text_encoder_lr": [0.0, 0.0]})])
    assert config.effective_network.network_train_unet_only


def test_a_text_encoder_stops_at_its_step_and_the_run_goes_on_to_the_bit(run, tmp_path):
    options = {
        "network_train_unet_only": False,
        "optimizer_type": "AdamW",
        "learning_rate": 1e-2,
        "stop_text_encoder_training": 0.5,
        "gradient_accumulation_steps": 2,
        "save_every_n_steps": 2,
        "save_precision": "float",
    }
    whole = run(**options, max_train_steps=4, output_dir=str(tmp_path / "whole"))
    parts = {
        name: load_adapter(whole.with_name(name)).tensors
        for name in ("test-step-2.safetensors", "test.safetensors")
    }
    before, after = parts.values()
    changed = {key for key in after if not torch.equal(before[key], after[key])}
    assert any(key.startswith("lora_te") for key in after)
    assert changed and all(key.startswith("lora_unet") for key in changed)
    steps = [
        event
        for event in read_events(whole.with_name("test.events.jsonl"))
        if event["event"] == "step"
    ]
    told = [event["learning_rates"]["text_encoder"] for event in steps]
    assert told == [1e-2, 1e-2, 0.0, 0.0]
