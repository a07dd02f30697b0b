"""The average of the weights (EMA) is that of diffusers, and can stand in for the weights."""

from __future__ import annotations

import pytest
import torch
from diffusers.training_utils import EMAModel
from torch import nn

from lycoris_ext.training.average import WeightAverage


def test_the_average_of_the_weights_is_that_of_diffusers():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    ours = WeightAverage(model, 0.6)
    theirs = EMAModel(model.parameters(), decay=0.6)
    for step in range(1, 30):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape))
        ours.update(step)
        theirs.step(model.parameters())
        for mine, other in zip(ours.tensors.values(), theirs.shadow_params, strict=True):
            torch.testing.assert_close(mine, other)
    assert ours.decay_at(29) == 0.6 and ours.decay_at(2) == pytest.approx(2 / 11)


def test_frozen_parameters_are_not_averaged():
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    assert set(WeightAverage(model, 0.9).tensors) == {"weight"}


def test_in_place_puts_the_average_in_and_the_weights_back():
    model = nn.Linear(3, 2)
    average = WeightAverage(model, 0.9)
    own = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1.0)
    with average.in_place():
        assert torch.equal(model.weight, own)
    assert torch.equal(model.weight, own + 1.0)
