"""Learning rates over a run, compared with the libraries that sd-scripts takes them from."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers.optimization import get_scheduler
from torch import nn
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION

from lycoris_ext.errors import ConfigError
from lycoris_ext.training.schedules import SCHEDULES, ScheduleConfig, learning_rate_factor

RATE = 2e-4

SETTINGS = {
    "constant": {},
    "constant_with_warmup": {"lr_warmup_steps": 7},
    "linear": {"lr_warmup_steps": 7},
    "cosine": {"lr_warmup_steps": 7},
    "cosine_with_restarts": {"lr_warmup_steps": 7, "lr_scheduler_num_cycles": 4},
    "cosine_with_min_lr": {
        "lr_warmup_steps": 7,
        "lr_scheduler_num_cycles": 3,
        "lr_scheduler_min_lr_ratio": 0.1,
    },
    "polynomial": {"lr_warmup_steps": 7, "lr_scheduler_power": 2.5},
    "inverse_sqrt": {"lr_warmup_steps": 7, "lr_scheduler_timescale": 11},
    "warmup_stable_decay": {
        "lr_warmup_steps": 7,
        "lr_decay_steps": 0.3,
        "lr_scheduler_min_lr_ratio": 0.2,
    },
}


def factors(total=50, **options):
    config = ScheduleConfig(**options)
    return [learning_rate_factor(config, step, total, RATE) for step in range(total)]


def rates_of_transformers(name, total, **options):
    """Return the rates that sd-scripts gets from transformers for the same options."""
    functions = {str(kind.value): value for kind, value in TYPE_TO_SCHEDULER_FUNCTION.items()}
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=RATE)
    cycles = options.get("lr_scheduler_num_cycles", 1)
    low = options.get("lr_scheduler_min_lr_ratio")
    arguments = {"num_warmup_steps": options.get("lr_warmup_steps"), "num_training_steps": total}
    arguments |= {
        "constant": {},
        "cosine_with_restarts": {"num_cycles": cycles},
        "cosine_with_min_lr": {"num_cycles": cycles / 2, "min_lr_rate": low},
        "polynomial": {"power": options.get("lr_scheduler_power")},
        "inverse_sqrt": {"timescale": options.get("lr_scheduler_timescale")},
        "warmup_stable_decay": {
            "num_decay_steps": int(total * 0.3),
            "min_lr_ratio": low,
            "num_cycles": cycles / 2,
        },
    }.get(name, {})
    if name in ("constant", "constant_with_warmup", "inverse_sqrt"):
        del arguments["num_training_steps"]
    if name == "constant":
        del arguments["num_warmup_steps"]
    schedule = functions[name](optimizer, **arguments)
    rates = []
    for _ in range(total):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.parametrize("name", SETTINGS)
def test_schedules_are_those_of_transformers(name):
    theirs = rates_of_transformers(name, 50, **SETTINGS[name])
    ours = [RATE * factor for factor in factors(lr_scheduler=name, **SETTINGS[name])]
    assert ours == pytest.approx(theirs, rel=1e-12, abs=1e-18)


def test_every_schedule_but_rex_is_compared_with_transformers_or_diffusers():
    assert set(SCHEDULES) - set(SETTINGS) == {"rex", "piecewise_constant", "adafactor"}


@pytest.mark.parametrize("rules", ["1:10,0.1:20,0.01:30,0.005", "0.5:7,2", "3:9,1:4,0.1"])
def test_a_piecewise_constant_rate_is_that_of_diffusers(rules):
    from diffusers.optimization import get_piecewise_constant_schedule

    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=RATE)
    schedule = get_piecewise_constant_schedule(optimizer, step_rules=rules)
    ours = factors(40, lr_scheduler="piecewise_constant", lr_scheduler_step_rules=rules)
    for factor in ours:
        assert RATE * factor == pytest.approx(schedule.get_last_lr()[0], rel=1e-12)
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("rules", ["", "1:10", "a,1", "1:1.5,1", "-1:3,1", "1:10,0.1:", "1:3,inf"])
def test_rules_that_say_no_factors_are_refused_with_an_example(rules):
    with pytest.raises(ConfigError, match="write it as"):
        ScheduleConfig(lr_scheduler="piecewise_constant", lr_scheduler_step_rules=rules)


@pytest.mark.parametrize("name", ["linear", "cosine", "cosine_with_restarts", "polynomial"])
def test_schedules_are_those_of_diffusers(name):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=RATE)
    schedule = get_scheduler(
        name, optimizer, num_warmup_steps=5, num_training_steps=40, num_cycles=3, power=0.5
    )
    more = {
        "cosine_with_restarts": {"lr_scheduler_num_cycles": 3},
        "polynomial": {"lr_scheduler_power": 0.5},
    }.get(name, {})
    ours = factors(40, lr_scheduler=name, lr_warmup_steps=5, **more)
    for factor in ours:
        assert RATE * factor == pytest.approx(schedule.get_last_lr()[0], abs=1e-18)
        optimizer.step()
        schedule.step()


def test_rex_follows_the_formula_of_its_paper():
    ours = factors(100, lr_scheduler="rex", lr_warmup_steps=20)
    assert ours[:20] == pytest.approx([step / 20 for step in range(20)])
    progress = [(step - 20) / 80 for step in range(20, 100)]
    assert ours[20:] == pytest.approx([(1 - p) / (0.5 + 0.5 * (1 - p)) for p in progress])
    config = ScheduleConfig(lr_scheduler="rex")
    # (1 - 0.5) / (0.5 + 0.25); above the straight line all the way
    assert learning_rate_factor(config, 50, 100) == pytest.approx(2 / 3)
    assert learning_rate_factor(config, 100, 100) == 0.0


def test_cosine_with_restarts_has_as_many_peaks_as_cycles():
    ours = factors(400, lr_scheduler="cosine_with_restarts", lr_scheduler_num_cycles=4)
    assert [step for step, factor in enumerate(ours) if factor == 1.0] == [0, 100, 200, 300]


@pytest.mark.parametrize(
    ("options", "values"),
    [
        ({"lr_scheduler": "constant_with_warmup", "lr_warmup_steps": 0.1}, {0: 0, 5: 0.5, 10: 1}),
        ({"lr_scheduler": "inverse_sqrt"}, {0: 1, 99: math.sqrt(10000 / 10099)}),
        ({"lr_scheduler": "inverse_sqrt", "lr_warmup_steps": 25}, {25: 1, 50: math.sqrt(0.5)}),
        ({"lr_scheduler": "warmup_stable_decay", "lr_decay_steps": 20}, {79: 1, 90: 0.5}),
    ],
)
def test_warm_up_and_decay_are_given_in_steps_or_as_a_share_of_the_run(options, values):
    found = factors(100, **options)
    assert {step: found[step] for step in values} == pytest.approx(values)


@pytest.mark.parametrize("name", SCHEDULES)
def test_factors_stay_between_0_and_1_whatever_the_length(name):
    options = SETTINGS.get(name, _needed(name))
    for total in (1, 2, 7, 8, 30):
        assert all(0.0 <= f <= 1.0 for f in factors(total, lr_scheduler=name, **options))


def test_only_schedules_that_fall_to_an_end_depend_on_the_length():
    free = {
        name
        for name in SCHEDULES
        if not ScheduleConfig(lr_scheduler=name, **_needed(name)).depends_on_length
    }
    kept = {"constant", "constant_with_warmup", "inverse_sqrt", "piecewise_constant", "adafactor"}
    assert free == kept
    assert ScheduleConfig(
        lr_scheduler="constant_with_warmup", lr_warmup_steps=0.1
    ).depends_on_length


def _needed(name):
    return {
        "cosine_with_min_lr": {"lr_scheduler_min_lr_ratio": 0.1},
        "warmup_stable_decay": {"lr_decay_steps": 5},
        "piecewise_constant": {"lr_scheduler_step_rules": "1:5,0.5"},
    }.get(name, {})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lr_scheduler": "step"}, "use one of constant, constant_with_warmup"),
        ({"lr_scheduler_args": ["T_max=3"]}, "lr_scheduler_type, whose arguments these are"),
        (
            {"lr_scheduler_type": "StepLR", "lr_warmup_steps": 5},
            'lr_warmup_steps is 5, and lr_scheduler_type = "StepLR" does not read it',
        ),
        ({"lr_warmup_steps": 100}, 'lr_scheduler = "constant" does not read it'),
        ({"lr_warmup_steps": -1}, "lr_warmup_steps is -1, expected 0 or more"),
        (
            {"lr_scheduler": "cosine", "lr_scheduler_num_cycles": 3},
            'lr_scheduler_num_cycles is 3, and lr_scheduler = "cosine" does not',
        ),
        (
            {"lr_scheduler": "linear", "lr_scheduler_power": 2.0},
            "set lr_scheduler to one of polynomial",
        ),
        (
            {"lr_scheduler": "rex", "lr_scheduler_min_lr_ratio": 0.1},
            "set lr_scheduler to one of cosine_with_min_lr, warmup_stable_decay",
        ),
        ({"lr_scheduler": "cosine", "lr_decay_steps": 10}, "lr_decay_steps is 10, and"),
        (
            {"lr_scheduler": "cosine", "lr_scheduler_timescale": 10},
            "lr_scheduler_timescale is 10, and",
        ),
        ({"lr_scheduler": "cosine_with_min_lr"}, "needs lr_scheduler_min_lr_ratio"),
        ({"lr_scheduler": "warmup_stable_decay"}, "needs lr_decay_steps"),
        ({"lr_scheduler": "polynomial", "lr_scheduler_power": 0.0}, "expected a number above 0"),
        ({"lr_scheduler_num_cycles": 0}, "lr_scheduler_num_cycles is 0, expected 1 or more"),
    ],
)
def test_wrong_schedule_options_are_refused(options, said):
    with pytest.raises(ConfigError) as caught:
        ScheduleConfig(**options)
    assert said in str(caught.value)
