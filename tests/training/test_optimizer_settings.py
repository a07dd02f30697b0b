"""optimizer_args, classes by their path, the rates that optimizers find, what suits them."""

from __future__ import annotations

import math

import prodigyopt
import pytest
import torch
from torch import nn

from lycoris_ext.config import OptionSource, build_config
from lycoris_ext.errors import ConfigError, EnvironmentFault
from lycoris_ext.training.optimizer_notes import optimizer_notes
from lycoris_ext.training.optimizers import OptimizerConfig, build_optimizer, try_optimizer
from lycoris_ext.training.step import optimizer_step
from lycoris_ext.training.true_rate import true_rates


def built(shapes=((8, 32), (32, 8)), rate=1e-3, **options):
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.randn(shape) * 0.1) for shape in shapes]
    config = OptimizerConfig(learning_rate=rate, **options)
    groups = [{"params": parameters, "lr": rate, "name": "unet"}]
    return parameters, build_optimizer(groups, config)


def refused(**options):
    with pytest.raises((ConfigError, EnvironmentFault)) as caught:
        try_optimizer(OptimizerConfig(**options))
    return str(caught.value)


def read(**options):
    return build_config([OptionSource("my.toml", {"network_train_unet_only": True, **options})])


# optimizer_args


@pytest.mark.parametrize(
    ("name", "given", "found"),
    [
        ("Prodigy", "d_coef=2", ("d_coef", 2)),
        ("Prodigy", "use_bias_correction=True", ("use_bias_correction", True)),
        ("Lion", "betas=0.95,0.98", ("betas", (0.95, 0.98))),
        ("DAdaptAdam", "decouple=True", ("decouple", True)),
        ("AdamWScheduleFree", "warmup_steps=10", ("warmup_steps", 10)),
        ("AdamW", "amsgrad=True", ("amsgrad", True)),
        ("CAME", "weight_decay=0.1", ("weight_decay", 0.1)),
    ],
)
def test_arguments_reach_the_class(name, given, found):
    _, optimizer = built(optimizer_type=name, optimizer_args=[given])
    argument, value = found
    assert optimizer.param_groups[0][argument] == value


def test_misspelt_arguments_and_wrong_types_are_told_at_once():
    said = refused(optimizer_type="Prodigy", optimizer_args=["d_coeff=2", "decouple=maybe", "lr=3"])
    assert "optimizer_args has d_coeff=2, which Prodigy does not take" in said
    assert "did you mean d_coef?" in said
    assert "decouple=maybe, expected True or False" in said
    assert "lr=3, which Prodigy does not take" in said
    assert "expected 2 numbers" in refused(optimizer_type="Lion", optimizer_args=["betas=0.9"])
    said = refused(optimizer_type="Prodigy", optimizer_args=["betas=1.5,0.9"])
    assert "Prodigy does not accept these settings: Invalid beta parameter at index 0: 1.5" in said


def test_arguments_of_a_file_are_checked_when_it_is_read():
    with pytest.raises(ConfigError, match=r"my\.toml(.|\n)*did you mean d_coef\?"):
        read(optimizer_type="prodigy", optimizer_args=["d_coeff=2"])


def test_an_argument_with_an_option_is_that_option_and_the_rest_is_kept():
    given = ["weight_decay=0.1", "amsgrad=True"]
    optimizer = read(optimizer_type="AdamW", optimizer_args=given).optimizer
    assert (optimizer.weight_decay, optimizer.optimizer_args) == (0.1, ("amsgrad=True",))


@pytest.mark.parametrize(
    ("theirs", "ours", "arguments"),
    [
        ("adamw8bit", "AdamW8bit", ()),
        ("DAdaptAdamPreprint", "DAdaptation", ()),
        ("SGDNesterov", "SGD", ("nesterov=True",)),
        ("PagedAdamW32bit", "PagedAdamW32bit", ()),
        ("AdaFactor", "Adafactor", ()),
        ("NAdam", "torch.optim.NAdam", ()),
        ("prodigyplus.ProdigyPlusScheduleFree", "ProdigyPlusScheduleFree", ()),
        ("schedulefree.AdamWScheduleFree", "AdamWScheduleFree", ()),
        ("torch.optim.RAdam", "torch.optim.RAdam", ()),
        ("came_pytorch.CAME", "CAME", ()),
    ],
)
def test_the_names_of_sd_scripts_choose_these(theirs, ours, arguments):
    optimizer = read(optimizer_type=theirs).optimizer
    assert (optimizer.optimizer_type, optimizer.optimizer_args) == (ours, arguments)


# classes by their path


def test_any_class_trains_by_its_path():
    parameters, optimizer = built(
        optimizer_type="torch.optim.Rprop", optimizer_args=["foreach=False"]
    )
    assert type(optimizer) is torch.optim.Rprop
    parameters[0].grad = torch.ones_like(parameters[0])
    before = parameters[0].detach().clone()
    optimizer_step(optimizer, 1.0, 0.0)
    assert not torch.equal(parameters[0], before)


def test_a_path_that_is_wrong_is_told_with_what_is_near():
    assert "did you mean torch.optim.Rprop?" in refused(optimizer_type="torch.optim.RProp")
    assert "no_such_thing cannot be imported" in refused(optimizer_type="no_such_thing.Adam")
    said = refused(optimizer_type="torch.nn.Linear")
    assert "is no subclass of torch.optim" in said and "torch.optim.RAdam" in said


# the rate that an optimizer finds


def trained(optimizer, parameters, steps):
    """Train a low-rank product towards a matrix, and return the rates that were told."""
    down, up = parameters
    generator = torch.Generator().manual_seed(0)
    wanted = torch.randn(32, 32, generator=generator)
    told = []
    for _ in range(steps):
        ((up @ down - wanted) ** 2).mean().backward()
        optimizer_step(optimizer, 1.0, 0.0)
        told.append(true_rates(optimizer)["unet"])
    return told


@pytest.mark.parametrize(
    "name", ["Prodigy", "DAdaptAdam", "DAdaptation", "ProdigyPlusScheduleFree"]
)
def test_the_told_rate_begins_tiny_and_grows_to_what_trains(name):
    parameters, optimizer = built(rate=1.0, optimizer_type=name)
    told = trained(optimizer, parameters, 60)
    assert told[0] < 2e-6 and 1e-4 < told[-1] < 1.0
    assert true_rates(built(optimizer_type="AdamW")[1]) == {}


def test_the_told_rate_of_prodigy_is_that_of_its_next_step():
    parameters, optimizer = built(rate=0.5, optimizer_type="Prodigy")
    (rate,) = trained(optimizer, parameters, 30)[-1:]
    state = optimizer.state[parameters[0]]
    before = parameters[0].detach().clone()
    ((parameters[1] @ parameters[0]) ** 2).mean().backward()
    optimizer_step(optimizer, 1.0, 0.0)
    d = optimizer.param_groups[0]["d"]
    update = state["exp_avg"] / (state["exp_avg_sq"].sqrt() + d * 1e-8)
    assert torch.allclose(before - parameters[0], rate * update, rtol=1e-4, atol=1e-9)


def test_adafactor_tells_the_rate_that_it_sets_itself():
    parameters, optimizer = built(rate=1e-3, optimizer_type="Adafactor")
    size = float(parameters[0].detach().pow(2).mean().sqrt())
    assert trained(optimizer, parameters, 1) == [pytest.approx(1e-2 * size, rel=0.05)]
    arguments = ["relative_step=False", "scale_parameter=False"]
    assert true_rates(built(optimizer_type="Adafactor", optimizer_args=arguments)[1]) == {}


def test_prodigy_is_that_of_sd_scripts_package_to_the_bit():
    ours, optimizer = built(rate=1.0, optimizer_type="Prodigy", optimizer_args=["d_coef=2"])
    trained(optimizer, ours, 20)
    theirs, _ = built()
    other = prodigyopt.Prodigy(
        [{"params": theirs, "lr": 1.0, "base_lr": 1.0, "name": "unet"}], d_coef=2
    )
    trained(other, theirs, 20)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


# Muon


def test_muon_turns_matrices_and_leaves_other_tensors_to_adamw():
    shapes = ((32, 8), (8, 16, 3, 3), (8,))
    parameters, optimizer = built(shapes=shapes, rate=1e-3, optimizer_type="Muon")
    names = {group["name"]: len(group["params"]) for group in optimizer.param_groups}
    assert names == {"unet": 1, "unet adamw": 2}
    before = [p.detach().clone() for p in parameters]
    for p in parameters:
        p.grad = torch.randn_like(p)
    optimizer_step(optimizer, 1.0, 0.0)
    steps = [b - p.detach() for b, p in zip(before, parameters, strict=True)]
    values = torch.linalg.svdvals(steps[0])
    assert values.max() < 2 * values.min(), "its directions count alike"
    lengths = [float(step.pow(2).mean().sqrt()) for step in steps]
    assert all(0.1e-3 < length < 2e-3 for length in lengths), "one rate serves both"


# what does not suit an optimizer


def notes(**options):
    return " ".join(optimizer_notes(read(**options)))


def test_settings_that_do_not_suit_the_optimizer_are_told_with_what_does():
    assert notes(optimizer_type="AdamW", learning_rate=1e-4, lr_scheduler="cosine") == ""
    assert "set learning_rate = 1" in notes(optimizer_type="Prodigy", learning_rate=1e-4)
    assert notes(optimizer_type="Prodigy", learning_rate=1.0, lr_scheduler="cosine") == ""
    warm = {"optimizer_type": "Prodigy", "learning_rate": 1.0, "lr_warmup_steps": 10}
    warm["lr_scheduler"] = "constant_with_warmup"
    assert "safeguard_warmup=True" in notes(**warm)
    assert notes(**warm, optimizer_args=["safeguard_warmup=True"]) == ""
    restarts = {"lr_scheduler": "cosine_with_restarts", "lr_scheduler_num_cycles": 4}
    assert "never falls" in notes(optimizer_type="DAdaptAdam", learning_rate=1.0, **restarts)
    said = notes(optimizer_type="AdamWScheduleFree", learning_rate=1e-3, lr_scheduler="cosine")
    assert 'use "constant", and optimizer_args = ["warmup_steps=N"]' in said
    assert "max_grad_norm = 0" in notes(optimizer_type="ProdigyPlusScheduleFree", learning_rate=1.0)
    assert "ignores learning_rate" in notes(optimizer_type="Adafactor", learning_rate=1e-4)
    assert "rates from 1e-07 to 0.001" in notes(optimizer_type="Lion", learning_rate=1e-2)


@pytest.mark.parametrize("name", ["Prodigy", "DAdaptAdaGrad", "DAdaptation"])
def test_several_rates_for_an_optimizer_of_one_are_refused_when_the_config_is_read(name):
    rates = {"learning_rate": 1.0, "unet_lr": 1.0, "text_encoder_lr": 0.5, "optimizer_type": name}
    with pytest.raises(ConfigError) as caught:
        build_config([OptionSource("test", rates)])
    said = str(caught.value)
    assert "unet_lr 1, text_encoder_lr 1 0.5" in said and "ProdigyPlusScheduleFree" in said
    build_config([OptionSource("test", rates | {"network_train_unet_only": True})])
    build_config([OptionSource("test", rates | {"text_encoder_lr": 0.0})])
    build_config([OptionSource("test", rates | {"optimizer_type": "ProdigyPlusScheduleFree"})])


def test_prodigy_plus_finds_a_rate_for_each_group():
    torch.manual_seed(0)
    first, second = (nn.Parameter(torch.randn(8, 8) * size) for size in (0.1, 10.0))
    groups = [
        {"params": [first], "lr": 1.0, "name": "unet"},
        {"params": [second], "lr": 1.0, "name": "text_encoder"},
    ]
    config = OptimizerConfig(optimizer_type="ProdigyPlusScheduleFree", learning_rate=1.0)
    optimizer = build_optimizer(groups, config)
    for _ in range(80):
        (first.pow(2).sum() + second.pow(2).sum()).backward()
        optimizer_step(optimizer, 1.0, 0.0)
    rates = true_rates(optimizer)
    assert rates["text_encoder"] > 2 * rates["unet"] and all(map(math.isfinite, rates.values()))
