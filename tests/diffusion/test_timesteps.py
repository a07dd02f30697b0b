"""Timesteps are drawn as often as their distribution's formula says, and only within the range."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext.data.randomness import derive_seed
from lycoris_ext.diffusion import LossConfig, draw_noise
from lycoris_ext.diffusion.timesteps import DISTRIBUTIONS, STEEPEST_TAIL, chances
from lycoris_ext.errors import ConfigError
from tests.schedules import stable_diffusion

SCHEDULE = stable_diffusion()
MANY = 200_000


def table(name, steps=1000, weight=0.0, bias=0.0, shift=1.0):
    return chances(name, steps, weight, bias, shift).numpy()


def moved(share, strength):
    return strength * share / ((strength - 1.0) * share + 1.0)


def sampled(name, weight, bias, numbers):
    """Turn uniform random numbers into shares of timesteps, by the formula that draws them."""
    if name == "uniform":
        return numbers
    if name == "logit_normal":
        return 1.0 / (1.0 + np.exp(-(bias + (1.0 + weight) * NORMAL)))
    if name == "heavy_tail":
        return 1.0 - numbers - weight * (np.cos(math.pi / 2 * numbers) ** 2 - 1.0 + numbers)
    return numbers ** (1.0 / weight) if bias == 1.0 else 1.0 - numbers ** (1.0 / bias)


NORMAL = np.sort(np.random.default_rng(1).standard_normal(MANY))


@pytest.mark.parametrize("strength", [1.0, 3.0, 0.4])
@pytest.mark.parametrize(
    ("name", "weight", "bias"),
    [
        ("uniform", 0.0, 0.0),
        ("logit_normal", 0.0, 0.0),
        ("logit_normal", 0.6, -1.2),
        ("logit_normal", -0.5, 0.8),
        ("heavy_tail", 0.0, 0.0),
        ("heavy_tail", 1.29, 0.0),
        ("heavy_tail", -0.9, 0.0),
        ("beta", 0.4, 1.0),
        ("beta", 1.0, 0.4),
    ],
)
def test_chances_are_the_shares_of_many_draws_by_the_formula(name, weight, bias, strength):
    numbers = (np.arange(MANY) + 0.5) / MANY
    shares = moved(sampled(name, weight, bias, numbers), strength)
    counted = np.histogram(shares, bins=20, range=(0, 1))[0] / MANY
    found = table(name, 1000, weight, bias, strength).reshape(20, 50).sum(1)
    np.testing.assert_allclose(found, counted, atol=3e-3)


@pytest.mark.parametrize("strength", [1.0, 2.5])
@pytest.mark.parametrize(
    ("name", "weight", "bias"),
    [("cos_map", 0.0, 0.0), ("sigmoid", 8.0, 0.1), ("sigmoid", -3.0, 0.0),
     ("inverted_parabola", 7.7, -0.1), ("sigmoid", 0.0, 0.0), ("inverted_parabola", 0.0, 0.0)],
)  # fmt: skip
def test_weights_are_the_formula_at_each_share(name, weight, bias, strength):
    share = np.linspace(0, 1, 200)
    before = share / (strength - strength * share + share)
    widths = strength / (strength + share - share * strength) ** 2
    formula = {
        "cos_map": lambda x: 2 / (math.pi - 2 * math.pi * x + 2 * math.pi * x**2),
        "sigmoid": lambda x: 1 / (1 + np.exp(-weight * (x - bias - 0.5))),
        "inverted_parabola": lambda x: np.maximum(0, 2 - weight * (x - bias - 0.5) ** 2),
    }[name]
    weights = formula(before) * widths
    np.testing.assert_allclose(
        table(name, 200, weight, bias, strength), weights / weights.sum(), rtol=1e-9, atol=1e-15
    )


def test_without_weight_and_bias_most_distributions_are_uniform():
    for name in ("sigmoid", "inverted_parabola", "heavy_tail"):
        np.testing.assert_allclose(table(name), 1e-3, rtol=1e-9)


NUMBERS = {
    "logit_normal": (st.floats(-0.99, 1000), st.floats(-100, 100)),
    "heavy_tail": (st.floats(-1, STEEPEST_TAIL), st.just(0.0)),
    "beta": (st.floats(1e-6, 1000), st.just(1.0)),
    "sigmoid": (st.floats(-1000, 1000), st.floats(-100, 100)),
    "inverted_parabola": (st.floats(-1000, 8), st.floats(-0.4, 0.4)),
}


@given(st.data(), st.sampled_from(list(DISTRIBUTIONS)), st.floats(0.001, 1000))
def test_chances_are_0_or_more_and_sum_to_1(data, name, strength):
    weight, bias = (data.draw(each) for each in NUMBERS.get(name, (st.just(0.0),) * 2))
    steps = data.draw(st.integers(3, 60))
    try:
        found = table(name, steps, weight, bias, strength)
    except ConfigError:
        assert name == "inverted_parabola"  # its few points may all miss a steep one
        return
    assert float(found.min()) >= 0 and float(found.sum()) == pytest.approx(1.0, abs=1e-9)


def draw(count=3000, **options):
    ids = list(range(count))
    latents = torch.zeros(count, 1, 2, 2)
    return draw_noise(latents, ids, SCHEDULE, LossConfig(**options), seed=3, batch_number=5)


def test_training_draws_timesteps_by_their_chances_within_the_range():
    options = {"timestep_distribution": "inverted_parabola", "noising_weight": 8.5}
    drawn = draw(min_timestep=400, max_timestep=500, **options).timesteps
    expected = table("inverted_parabola", 100, 8.5)
    counts = torch.bincount(drawn - 400, minlength=100).numpy()
    assert len(counts) == 100 and not counts[expected == 0].any()
    parts = counts.reshape(10, 10).sum(1) / 3000
    np.testing.assert_allclose(parts, expected.reshape(10, 10).sum(1), atol=0.03)


def test_a_distribution_changes_no_other_random_number_and_no_neighbour():
    plain, other = draw(4), draw(4, timestep_distribution="logit_normal", noising_bias=2.0)
    assert torch.equal(plain.noise, other.noise)
    assert not torch.equal(plain.timesteps, other.timesteps)
    alone = draw_noise(
        torch.zeros(1, 1, 2, 2),
        [2],
        SCHEDULE,
        LossConfig(timestep_distribution="logit_normal", noising_bias=2.0),
        seed=3,
        batch_number=5,
    )
    assert int(alone.timesteps) == int(other.timesteps[2])


def test_uniform_timesteps_are_drawn_as_they_always_were():
    first = [int(one) for one in draw(4).timesteps]
    assert first == [int(one) for one in draw(4, timestep_distribution="uniform").timesteps]
    generator = torch.Generator()
    for sample, timestep in enumerate(first):
        generator.manual_seed(derive_seed(3, "noise", 5, sample))
        assert int(torch.randint(0, 1000, (1,), generator=generator)) == timestep


def test_a_shift_alone_moves_uniform_timesteps_to_more_noise():
    mean = float(draw(timestep_shift=3.0).timesteps.double().mean()) / 1000
    share = (np.arange(10_000) + 0.5) / 10_000
    assert mean == pytest.approx(float(moved(share, 3.0).mean()), abs=0.02)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"noising_weight": 1.0}, "does not read it"),
        ({"timestep_distribution": "cos_map", "noising_bias": 1.0}, "does not read it"),
        ({"timestep_distribution": "heavy_tail", "noising_bias": 1.0}, "does not read it"),
        ({"timestep_distribution": "heavy_tail", "noising_weight": 1.8}, "from -1 to 1.75"),
        ({"timestep_distribution": "logit_normal", "noising_weight": -1.0}, "above -1"),
        ({"timestep_distribution": "beta"}, "of which one is 1"),
        (
            {"timestep_distribution": "beta", "noising_weight": 2.0, "noising_bias": 3.0},
            "of which one is 1",
        ),
        (
            {
                "timestep_distribution": "inverted_parabola",
                "noising_weight": 9.0,
                "noising_bias": 5.0,
            },
            "no timestep has a chance",
        ),
    ],
)
def test_numbers_without_effect_or_sense_are_refused(options, told):
    with pytest.raises(ConfigError, match=told):
        LossConfig(**options)
