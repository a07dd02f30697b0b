"""Diag-OFT and BOFT: which block sizes and files are refused, and what happens to the bias."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lycoris_ext.algorithms import detect
from lycoris_ext.errors import ConfigError, FormatError
from lycoris_ext.formats import AdapterState
from lycoris_ext.functional import LayerSpec
from lycoris_ext.network import Network, NetworkConfig, build_network, load_network


def build(module: nn.Module, **options: object) -> Network:
    model = nn.ModuleDict({"proj": module})
    return build_network({"model": model}, NetworkConfig(**options))  # type: ignore[arg-type]


def perturbed(network: Network) -> Network:
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.3)
    return network


def test_a_boft_rank_that_does_not_fit_the_width_is_refused_with_one_that_does() -> None:
    with pytest.raises(ConfigError) as caught:
        build(nn.Linear(16, 320), algo="boft", network_dim=8)
    assert caught.value.where == "model.proj, network_dim"
    assert "320 outputs into blocks of at most 8" in str(caught.value)
    assert caught.value.fix == "use 10 or more, or exclude the layer"
    build(nn.Linear(16, 320), algo="boft", network_dim=10)
    with pytest.raises(ConfigError, match=r"conv_dim.*10 outputs") as caught:
        build(nn.Conv2d(4, 10, 3), algo="boft", network_dim=16, conv_dim=4)
    assert caught.value.fix == "use 10 or more, or exclude the layer"


@pytest.mark.parametrize("algo", ["diag-oft", "boft"])
def test_widths_that_no_block_divides_are_refused(algo: str) -> None:
    with pytest.raises(ConfigError, match=r"model.proj, network_dim: .* 7 outputs") as caught:
        build(nn.Linear(16, 7), algo=algo, network_dim=4)
    assert caught.value.fix is not None and "no size does" in caught.value.fix


def test_diag_oft_blocks_of_one_output_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        build(nn.Linear(16, 9), algo="diag-oft", network_dim=2)
    assert caught.value.fix == "use 3 or more, or exclude the layer"


@pytest.mark.parametrize(
    ("width", "dim", "shape"),
    [(320, 4, (80, 4, 4)), (320, 32, (32, 10, 10)), (4, 4, (2, 2, 2)), (4, 100, (2, 2, 2))],
)
def test_network_dim_decides_the_block_size_of_diag_oft(
    width: int, dim: int, shape: tuple[int, ...]
) -> None:
    network = build(nn.Linear(3, width), algo="diag-oft", network_dim=dim)
    (layer,) = network.layers.values()
    assert layer.plan.shapes() == {"oft_blocks": shape}


def test_alpha_is_the_constraint_whatever_network_alpha_says() -> None:
    network = build(nn.Linear(8, 8), algo="boft", constraint=0.01, network_alpha=7.0, rs_lora=True)
    (layer,) = network.layers.values()
    assert layer.plan.alpha == 0.01 and layer.plan.scale == 1.0
    assert float(layer.stored()["alpha"]) == pytest.approx(0.01)
    plan = detect(layer.stored(), "layer", layer.plan.layer)
    assert plan.alpha == pytest.approx(0.01) and plan.scale == 1.0
    without = {"oft_blocks": torch.zeros(2, 4, 4)}
    assert detect(without, "layer", LayerSpec(8, 8)).alpha == 0.0


@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_a_negative_or_nan_constraint_is_refused(value: float) -> None:
    with pytest.raises(ConfigError, match="constraint is "):
        NetworkConfig(algo="boft", constraint=value)


@pytest.mark.parametrize("algo", ["diag-oft", "boft"])
def test_use_scalar_is_refused_for_rotations(algo: str) -> None:
    with pytest.raises(ConfigError, match=r"use_scalar: .*not proportional"):
        build(nn.Linear(8, 8), algo=algo, use_scalar=True)


@pytest.mark.parametrize("algo", ["diag-oft", "boft", "ia3", "glora"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_rotations_and_scales_leave_the_bias_alone(algo: str, dtype: torch.dtype) -> None:
    """lycoris-lora's bypass_mode turns and scales the bias, too."""
    linear = nn.Linear(6, 8).to(dtype).requires_grad_(False)
    linear.bias.fill_(100.0)
    x = torch.zeros(3, 6, dtype=dtype)
    network = perturbed(build(linear, algo=algo, network_dim=4)).to(dtype)
    for training in (True, False):
        network.train(training)
        with network.injected():
            torch.testing.assert_close(linear(x), linear.bias.expand(3, 8), rtol=1e-6, atol=0)


@pytest.mark.parametrize("algo", ["diag-oft", "boft"])
def test_a_multiplier_is_linear_and_a_rotation_keeps_lengths(algo: str) -> None:
    linear = nn.Linear(6, 8).double().requires_grad_(False)
    network = perturbed(build(linear, algo=algo)).double()
    x = torch.randn(3, 6, dtype=torch.float64)

    def at(multiplier: float) -> Tensor:
        network.multiplier = multiplier
        with network.injected():
            return linear(x) - linear.bias

    torch.testing.assert_close(at(0.5), (at(0.0) + at(1.0)) / 2)
    torch.testing.assert_close(at(1.0).norm(dim=1), at(0.0).norm(dim=1))
    assert (at(1.0) - at(0.0)).norm() > 0.1


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 3, 3), "a layer of 6 x any, this one is 8 x 5"),
        ((2, 2, 3, 3), "2 stages of 2 blocks of 3 are no butterfly"),
        ((1, 3, 4, 4), "are no butterfly"),
        ((3, 2, 4, 4), "are no butterfly"),
        ((2, 2, 6, 6), "a layer of 12 x any, this one is 8 x 5"),
        ((2, 4, 3), "says block = 3, other tensors of the layer say 4"),
        ((8, 8), "no algorithm stores"),
    ],
)
def test_oft_files_that_do_not_fit_the_layer_are_refused(
    shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(FormatError) as caught:
        detect({"oft_blocks": torch.zeros(shape)}, "proj", LayerSpec(8, 5))
    assert caught.value.where == "proj" and message in str(caught.value)


def test_a_boft_file_with_fewer_stages_than_fit_is_read() -> None:
    plan = detect({"oft_blocks": torch.zeros(2, 4, 2, 2)}, "proj", LayerSpec(8, 5))
    assert plan.algorithm.name == "boft"


def test_oft_files_of_sd_scripts_are_read_as_diag_oft() -> None:
    model = nn.ModuleDict({"proj": nn.Linear(6, 8)})
    state = AdapterState(
        {
            "oft_unet_proj.oft_blocks": torch.randn(4, 2, 2),  # network_dim = 4 blocks
            "oft_unet_proj.alpha": torch.tensor(1e-3),
        }
    )
    (layer,) = load_network(state, {"unet": model}).layers.values()
    assert layer.plan.algorithm.name == "diag-oft" and layer.plan.alpha == pytest.approx(1e-3)


@pytest.mark.parametrize("module", [nn.Linear(5, 8), nn.Conv2d(3, 8, 3, bias=False)])
@pytest.mark.parametrize("rescaled", [False, True])
@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_a_rotation_that_is_stored_itself_turns_as_in_lycoris_2_0(
    module: nn.Module, rescaled: bool, strength: float
) -> None:
    """Its formula: W' = sum_n (strength R + (1 - strength) I)[n, m] W[n] for each block."""
    torch.manual_seed(0)
    module = module.double()
    skew = torch.randn(4, 2, 2).double()
    skew, eye = skew - skew.mT, torch.eye(2).double()
    stored = (eye + skew) @ torch.linalg.inv(eye - skew)
    if rescaled:
        stored = stored * torch.linspace(0.7, 1.4, 8).double().reshape(4, 2, 1)
    state = AdapterState({"lycoris_proj.oft_diag": stored})
    model = {"model": nn.ModuleDict({"proj": module})}
    network = load_network(state, model).double()
    weight: Tensor = module.weight.detach().clone()  # type: ignore[operator]
    turned = torch.einsum(
        "knm,kn...->km...", strength * stored + (1 - strength) * eye, weight.unflatten(0, (4, 2))
    ).flatten(0, 1)
    network.merge(strength)
    assert torch.allclose(module.weight, turned, rtol=0, atol=1e-6)  # type: ignore[arg-type]
    network.unmerge()
    again = load_network(
        network.adapter_state(dtype=None), {"model": nn.ModuleDict({"proj": module})}
    )
    assert torch.equal(
        again.adapter_state(dtype=None).tensors["lycoris_proj.oft_diag"], stored.float()
    )
