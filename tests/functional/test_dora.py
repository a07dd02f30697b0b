"""DoRA around any update: its memory, its exact norms, and what it trains."""

from __future__ import annotations

from math import prod

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lycoris_ext.functional import Delta, FrozenLayer, Hadamard, LayerSpec, LowRank, weight_norms
from lycoris_ext.network import Network, NetworkConfig, build_network


class TooLarge(Exception):
    pass


class NothingOfThisSize(TorchDispatchMode):
    """Raises TooLarge where an operation returns new memory for `numbers` numbers or more."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.numbers = numbers

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        known = {a.untyped_storage().data_ptr() for a in args if isinstance(a, Tensor)}
        for made in out if isinstance(out, (tuple, list)) else [out]:
            if not isinstance(made, Tensor) or prod(made.shape) < self.numbers:
                continue
            if made.untyped_storage().data_ptr() not in known:
                raise TooLarge(f"{func} built {tuple(made.shape)}")
        return out


def decomposed(module: nn.Module, **options: object) -> Network:
    config = NetworkConfig(algo="loha", dora_wd=True, network_dim=8, conv_dim=4, **options)
    network = build_network({"model": module}, config)
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return network


@pytest.mark.parametrize("on_output", [False, True])
@pytest.mark.parametrize(
    ("module", "shape"),
    [(nn.Linear(1280, 640), (1, 77, 1280)), (nn.Conv2d(320, 320, 3, padding=1), (1, 320, 6, 6))],
)
def test_a_step_of_dora_builds_no_tensor_of_the_weights_size(
    on_output: bool, module: nn.Module, shape: tuple[int, ...]
) -> None:
    model = nn.Sequential(module).requires_grad_(False)
    network = decomposed(model, wd_on_output=on_output)
    x = torch.randn(shape, requires_grad=True)
    with network.injected(), NothingOfThisSize(module.weight.numel() // 2):
        model(x).square().sum().backward()
    with NothingOfThisSize(module.weight.numel() // 2), pytest.raises(TooLarge):
        network.merge()  # the guard sees it where it is built
    assert x.grad is not None and all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("on_input", [False, True])
@pytest.mark.parametrize("shape", [(7, 5), (6, 4, 3, 3), (300, 700)])
def test_weight_norms_are_those_of_the_whole_matrix(shape: tuple[int, ...], on_input: bool) -> None:
    weight = torch.randn(shape, dtype=torch.float64)
    layer = LayerSpec(shape[0], shape[1], shape[2:])
    up, down = torch.randn(shape[0], 2).double(), torch.randn(2, *shape[1:]).double()
    update = LowRank(layer, 0.7, up, down)
    axes = tuple(axis for axis in range(weight.ndim) if axis != int(on_input))
    for d, whole in [(None, weight), (update, weight + update.dense())]:
        expected = whole.square().sum(axes).sqrt()
        torch.testing.assert_close(weight_norms(weight, on_input, d), expected)


def some_updates(shape: tuple[int, ...], rank: int, std: float) -> dict[str, Delta]:
    layer = LayerSpec(shape[0], shape[1], shape[2:])

    def low_rank() -> LowRank:
        up, down = torch.randn(shape[0], rank), torch.randn(rank, *shape[1:])
        return LowRank(layer, 1.0, up * std, down * std)

    return {
        "low rank": low_rank(),
        "hadamard": Hadamard(layer, 0.5, low_rank(), low_rank()),
        "scalar": Hadamard(layer, torch.tensor(-0.3), low_rank(), low_rank()),
        "a scale for each row": Hadamard(layer, torch.rand(shape[0]), low_rank(), low_rank()),
    }


def exact_norms(weight: Tensor, on_input: bool, update: Delta) -> Tensor:
    axes = tuple(axis for axis in range(weight.ndim) if axis != int(on_input))
    return (weight.double() + update.dense().double()).square().sum(axes).sqrt()


@pytest.mark.parametrize("on_input", [False, True])
@pytest.mark.parametrize("std", [0.02, 0.2])
@pytest.mark.parametrize(("shape", "rank"), [((320, 640), 8), ((320, 64, 3, 3), 4), ((40, 30), 12)])
def test_norms_from_the_factors_are_exact(
    shape: tuple[int, ...], rank: int, std: float, on_input: bool
) -> None:
    torch.manual_seed(0)
    weight = torch.randn(shape) * 0.02
    for name, update in some_updates(shape, rank, std).items():
        norms = weight_norms(weight, on_input, update)
        expected = exact_norms(weight, on_input, update).float()
        torch.testing.assert_close(
            norms, expected, rtol=1e-6, atol=0, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("on_input", [False, True])
def test_norms_of_channels_that_the_update_cancels_are_exact(on_input: bool) -> None:
    """The sum ||W||^2 + <2 W + d, d> alone has no correct digit there."""
    torch.manual_seed(0)
    for update in some_updates((48, 32), 3, 0.3).values():
        weight = 1e-4 * torch.randn(48, 32) - update.dense()
        expected = exact_norms(weight, on_input, update).float()
        norms = weight_norms(weight, on_input, update)
        torch.testing.assert_close(norms, expected, rtol=1e-3, atol=0)
        weight = -update.dense()
        assert weight_norms(weight, on_input, update).amax() < 1e-6  # not NaN


@pytest.mark.parametrize("on_input", [False, True])
def test_norms_are_exact_inside_autocast(on_input: bool) -> None:
    model = nn.Sequential(nn.Linear(64, 48)).requires_grad_(False)
    config = NetworkConfig(algo="lora", dora_wd=True, wd_on_output=not on_input, network_dim=4)
    network = build_network({"model": model}, config)
    (layer,) = network.layers.values()
    for parameter in network.parameters():
        parameter.data.add_(torch.randn(parameter.shape) * 0.1)
    delta = layer.delta(FrozenLayer.of(model[0], layer.plan.layer))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        share = delta.share()
    torch.testing.assert_close(share, delta.share(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("on_output", [False, True])
def test_dora_trains_magnitudes_and_directions(on_output: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 10)).requires_grad_(False)
    frozen = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    x = torch.randn(64, 12)
    stretch = 0.5 + torch.rand(10)
    target = (model(x) * stretch).detach()
    network = build_network(
        {"model": model}, NetworkConfig(dora_wd=True, wd_on_output=on_output, network_dim=4)
    )
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    losses = []
    with network.injected():
        for _ in range(60):
            loss = (model(x) - target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    after = network.state_dict()
    trained = {key.rpartition(".")[2] for key in before if not torch.equal(before[key], after[key])}
    assert trained == {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "dora_scale"}
    assert all(torch.equal(frozen[key], tensor) for key, tensor in model.state_dict().items())
