"""Building an optimizer from its options, and the step with clipping."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from torch import nn

from lycoris_ext.errors import ConfigError, EnvironmentFault
from lycoris_ext.training.optimizers import (
    OptimizerConfig,
    build_optimizer,
)
from lycoris_ext.training.step import gradient_norm, optimizer_step


def parameters(*shapes):
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape)) for shape in shapes]


def build(params, **options):
    config = OptimizerConfig(**options)
    return build_optimizer([{"params": params, "lr": config.learning_rate, "name": "unet"}], config)


def test_adamw8bit_keeps_8_bit_moments_of_large_tensors():
    large, small = parameters((64, 64), (63, 65))
    optimizer = build([large, small])
    for parameter in (large, small):
        parameter.grad = torch.randn_like(parameter)
    optimizer_step(optimizer, 1.0, 0.0)
    assert optimizer.state[large]["state1"].dtype == torch.uint8
    assert optimizer.state[large]["state2"].dtype == torch.uint8
    assert optimizer.state[small]["state1"].dtype == torch.float32


def test_without_bitsandbytes_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(EnvironmentFault) as caught:
        build(parameters((2, 2)))
    text = str(caught.value)
    assert "bitsandbytes cannot be imported" in text
    assert "pip install bitsandbytes" in text
    assert 'optimizer_type = "AdamW"' in text


def test_adamw_works_without_bitsandbytes(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    assert isinstance(build(parameters((2, 2)), optimizer_type="AdamW"), torch.optim.AdamW)


def test_each_group_keeps_its_own_rate_in_a_step():
    first, second = parameters((2, 2), (3, 3))
    groups = [
        {"params": [first], "lr": 1e-3, "name": "unet"},
        {"params": [second], "lr": 5e-4, "name": "text_encoder"},
    ]
    optimizer = build_optimizer(groups, OptimizerConfig(optimizer_type="AdamW"))
    first.grad, second.grad = torch.ones(2, 2), torch.ones(3, 3)
    optimizer_step(optimizer, 0.5, 0.0)
    assert [group["lr"] for group in optimizer.param_groups] == [5e-4, 2.5e-4]


def test_an_optimizer_without_parameters_is_refused():
    with pytest.raises(ConfigError, match="no parameter to train"):
        build([])


def test_clipping_scales_the_gradient_to_the_norm_and_returns_the_old_one():
    (parameter,) = parameters((10,))
    optimizer = torch.optim.SGD([{"params": [parameter], "lr": 1.0, "base_lr": 1.0}])
    before = parameter.detach().clone()
    parameter.grad = torch.full((10,), 3.0)
    norm = optimizer_step(optimizer, 1.0, 1.0)
    assert norm == pytest.approx(3.0 * math.sqrt(10))
    assert float((parameter.detach() - before).norm()) == pytest.approx(1.0, rel=1e-4)
    assert parameter.grad is None


def test_a_gradient_that_is_not_finite_changes_no_parameter():
    (parameter,) = parameters((4,))
    optimizer = build([parameter], optimizer_type="AdamW")
    before = parameter.detach().clone()
    parameter.grad = torch.tensor([1.0, float("inf"), 0.0, 0.0])
    assert not math.isfinite(optimizer_step(optimizer, 1.0, 1.0))
    assert torch.equal(parameter, before)


def test_the_norm_without_gradients_is_0():
    assert float(gradient_norm(parameters((2,)))) == 0.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"optimizer_type": "Rprop"}, "optimizer_type 'Rprop' is not supported"),
        ({"optimizer_type": "adamw8bit"}, 'use "AdamW8bit"'),
        ({"learning_rate": -1e-4}, "learning_rate is -0.0001"),
        ({"unet_lr": 20.0}, "unet_lr is 20.0"),
        ({"loraplus_lr_ratio": 0.0}, "loraplus_lr_ratio is 0.0"),
        ({"loraplus_unet_lr_ratio": math.inf}, "loraplus_unet_lr_ratio is inf"),
        ({"unet_lr": 0.0, "text_encoder_lr": 0.0}, "nothing would be trained"),
        ({"learning_rate": 0.0}, "nothing would be trained"),
        ({"max_grad_norm": -1.0}, "max_grad_norm is -1.0"),
        ({"adam_beta2": 1.0}, "adam_beta2 is 1.0"),
    ],
)
def test_wrong_optimizer_options_are_refused(options, said):
    with pytest.raises(ConfigError) as caught:
        OptimizerConfig(**options)
    assert said in str(caught.value)
