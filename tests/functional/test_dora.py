"""DoRA around any update: what it costs, and what it learns."""

from __future__ import annotations

from math import prod

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lycoris_ext.functional import LayerSpec, LowRank, weight_norms
from lycoris_ext.network import Network, NetworkConfig, build_network


class TooLarge(Exception):
    pass


class NothingOfThisSize(TorchDispatchMode):
    """Fails where an operation returns new memory for that many numbers."""

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
def test_nothing_of_the_weights_size_is_built(
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
def test_norms_in_rows_are_the_norms_of_the_whole(shape: tuple[int, ...], on_input: bool) -> None:
    weight = torch.randn(shape, dtype=torch.float64)
    layer = LayerSpec(shape[0], shape[1], shape[2:])
    up, down = torch.randn(shape[0], 2).double(), torch.randn(2, *shape[1:]).double()
    update = LowRank(layer, 0.7, up, down)
    axes = tuple(axis for axis in range(weight.ndim) if axis != int(on_input))
    for d, whole in [(None, weight), (update, weight + update.dense())]:
        expected = whole.square().sum(axes).sqrt()
        torch.testing.assert_close(weight_norms(weight, on_input, d), expected)


@pytest.mark.parametrize("on_output", [False, True])
def test_it_learns_lengths_and_directions(on_output: bool) -> None:
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
