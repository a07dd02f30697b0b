"""Merging networks into the base, and unmerging them: in any order, all of it or nothing."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from lycoris_ext.errors import ConfigError
from lycoris_ext.modules import merged_layer
from lycoris_ext.network import Network, NetworkConfig, build_network


def perturbed(targets: dict[str, nn.Module], algo: str = "loha", seed: int = 0) -> Network:
    network = build_network(targets, NetworkConfig(algo=algo, network_dim=2))
    torch.manual_seed(seed)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in module.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[key], second[key]) for key in first)


def test_unmerging_is_exact_and_can_be_repeated(targets: dict[str, nn.Module]) -> None:
    network, unet = perturbed(targets), targets["unet"]
    before = weights(unet)
    for _ in range(2):
        network.merge(0.7)
        assert network.is_merged
        assert not torch.equal(unet.conv_in.weight, before["conv_in.weight"])
        network.unmerge()
        assert same(weights(unet), before)
    network.unmerge()  # nothing is merged: nothing happens


def test_merging_for_good_keeps_no_copy(targets: dict[str, nn.Module]) -> None:
    network = perturbed(targets)
    x = torch.randn(1, 8)
    layer = targets["unet"].attention.attn1.to_q
    with network.injected():
        wanted = layer(x)
    network.merge(keep=False)
    torch.testing.assert_close(layer(x), wanted)
    assert not any("merged" in name for m in targets["unet"].modules() for name in m.__dict__)
    with pytest.raises(ConfigError, match="merged into the weights already"):
        network.merge()
    with pytest.raises(ConfigError, match="the old weights were not kept"):
        network.unmerge()


def test_after_forget_merge_the_network_can_be_merged_again(targets: dict[str, nn.Module]) -> None:
    network = build_network(targets, NetworkConfig())
    network.merge(keep=False)
    with pytest.raises(ConfigError, match="merged into the weights already"):
        network.merge()
    network.forget_merge()
    network.merge()


def test_a_merged_network_is_not_injected_and_loses_no_layer(
    targets: dict[str, nn.Module],
) -> None:
    network = perturbed(targets)
    network.merge()
    with pytest.raises(
        ConfigError, match=r"already: its update would count twice\n.*unmerge it first"
    ):
        network.inject()
    with pytest.raises(ConfigError, match="merged into the weights already"):
        network.leave_out(["text_encoder"])
    assert not network.is_injected


def test_without_a_number_a_network_is_merged_at_its_own_strength(
    targets: dict[str, nn.Module],
) -> None:
    network, layer, x = perturbed(targets), targets["unet"].other, torch.randn(2, 8)
    network = build_network({"model": layer}, NetworkConfig(algo="lora", network_dim=2))
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    network.multiplier = 0.3
    with network.injected():
        wanted = layer(x)
    network.merge()
    torch.testing.assert_close(layer(x), wanted)


@pytest.mark.parametrize("algo", ["lora", "diag-oft"])
def test_networks_are_unmerged_in_any_order(algo: str, targets: dict[str, nn.Module]) -> None:
    """diag-OFT turns the weight that it finds, so without the first the second turns another."""
    first, second = perturbed(targets), perturbed(targets, algo, seed=1)
    unet = targets["unet"]
    before = weights(unet)
    second.merge(0.5)
    alone = weights(unet)
    second.unmerge()
    first.merge()
    second.merge(0.5)
    first.unmerge()
    for key, tensor in weights(unet).items():
        torch.testing.assert_close(tensor, alone[key], rtol=1e-6, atol=1e-6)
    second.unmerge()
    assert same(weights(unet), before)


def test_what_was_merged_is_unmerged_even_if_it_was_trained_since(
    targets: dict[str, nn.Module],
) -> None:
    first, second = perturbed(targets), perturbed(targets, seed=1)
    first.merge()
    second.merge()
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(1.0)
    first.unmerge()
    found = weights(targets["unet"])
    second.unmerge()
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.sub_(1.0)
    second.merge()
    for key, tensor in weights(targets["unet"]).items():
        torch.testing.assert_close(tensor, found[key], rtol=1e-5, atol=1e-5)


def test_a_merge_for_good_outlives_the_unmerging_of_an_earlier_one(
    targets: dict[str, nn.Module],
) -> None:
    lasting, other = perturbed(targets), perturbed(targets, seed=1)
    unet = targets["unet"]
    lasting.merge()
    wanted = weights(unet)
    lasting.unmerge()
    other.merge()
    lasting.merge(keep=False)
    other.unmerge()
    for key, tensor in weights(unet).items():
        torch.testing.assert_close(tensor, wanted[key], rtol=1e-6, atol=1e-6)
    assert not any("merged" in name for m in unet.modules() for name in m.__dict__)


def loaded_again(layer: nn.Linear) -> None:
    layer.load_state_dict({key: torch.ones_like(t) for key, t in layer.state_dict().items()})


def data_changed(layer: nn.Linear) -> None:
    layer.weight.data.add_(0.01)  # torch counts no new version of the weight


def another_parameter(layer: nn.Linear) -> None:
    layer.weight = nn.Parameter(torch.ones(8, 8))


def cast_and_changed(layer: nn.Linear) -> None:
    layer.half().weight.data.mul_(1.1)


@pytest.mark.parametrize(
    "replace", [loaded_again, data_changed, another_parameter, cast_and_changed]
)
def test_weights_that_were_replaced_are_not_overwritten(
    replace: Callable[[nn.Linear], None], targets: dict[str, nn.Module]
) -> None:
    network, unet = perturbed(targets), targets["unet"]
    network.merge()
    replace(unet.attention.attn1.to_q)
    now = weights(unet)
    with pytest.raises(ConfigError, match=r"weights of 1 layer were changed .*attn1\.to_q"):
        network.unmerge()
    assert same(weights(unet), now)
    assert network.is_merged
    later = perturbed(targets, seed=1)
    later.merge()
    later.unmerge()
    assert same(weights(unet), now)
    network.forget_merge()
    network.merge()


def test_another_layout_in_memory_is_no_other_weight(targets: dict[str, nn.Module]) -> None:
    network, unet = perturbed(targets), targets["unet"]
    before = weights(unet)
    network.merge()
    unet.to(memory_format=torch.channels_last)
    network.unmerge()
    assert same(weights(unet), before)


@pytest.mark.parametrize("shape", [(3,), (3, 5), (1, 1), (2, 3, 3, 3)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_each_bit_of_a_weight_counts_wherever_it_lies(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    big = torch.randn(100, dtype=torch.float64).to(dtype)
    for start in range(3):  # a slice of a file need not begin at a multiple of 8 bytes
        tensor = big[start : start + math.prod(shape)].reshape(shape)
        mark = merged_layer.Mark.of(tensor)
        assert mark == merged_layer.Mark.of(tensor.clone())
        for place in range(tensor.numel()):
            other = tensor.clone()
            other.view(-1)[place] *= 1 + torch.finfo(dtype).eps
            assert merged_layer.Mark.of(other) != mark


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_base_that_was_cast_while_merged_is_as_if_cast_without(
    dtype: torch.dtype, targets: dict[str, nn.Module]
) -> None:
    first, second, unet = perturbed(targets), perturbed(targets, seed=1), targets["unet"]
    wanted = weights(copy.deepcopy(unet).to(dtype))
    first.merge()
    second.merge()
    unet.to(dtype)
    first.unmerge()
    second.unmerge()
    assert same(weights(unet), wanted)


@pytest.mark.parametrize("others", [False, True])
def test_a_merge_that_fails_halfway_changes_nothing(
    others: bool, targets: dict[str, nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weight of the layer at which it fails is half written then."""
    unet, network = targets["unet"], perturbed(targets)
    if others:
        perturbed(targets, seed=1).merge()
    before, calls, add = weights(unet), [], merged_layer.add_delta

    def failing(weight: Tensor, delta: object) -> None:
        calls.append(weight)
        if len(calls) == 4:
            weight.add_(1.0)
            raise KeyboardInterrupt
        add(weight, delta)

    with monkeypatch.context() as patch:
        patch.setattr(merged_layer, "add_delta", failing)
        with pytest.raises(KeyboardInterrupt):
            network.merge()
    assert same(weights(unet), before)
    assert not network.is_merged
    network.merge()


def test_an_unmerging_that_fails_halfway_is_finished_by_the_next(
    targets: dict[str, nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    unet, network = targets["unet"], perturbed(targets)
    before, drop = weights(unet), merged_layer.MergedLayer.drop
    network.merge()

    def failing(record: merged_layer.MergedLayer, update: merged_layer.MergedUpdate) -> None:
        if record.module is unet.block.conv1:
            raise MemoryError
        drop(record, update)

    with monkeypatch.context() as patch:
        patch.setattr(merged_layer.MergedLayer, "drop", failing)
        with pytest.raises(MemoryError):
            network.unmerge()
    assert network.is_merged
    network.unmerge()
    assert same(weights(unet), before)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copies_of_a_merged_model_and_its_networks_are_independent(
    copied: Callable[..., tuple[nn.Module, Network, Network]], targets: dict[str, nn.Module]
) -> None:
    first, second, unet = perturbed(targets), perturbed(targets, seed=1), targets["unet"]
    before = weights(unet)
    first.merge()
    second.merge()
    now = weights(unet)
    other, its_first, its_second = copied((unet, first, second))
    its_first.unmerge()
    its_second.unmerge()
    assert same(weights(other), before)
    assert same(weights(unet), now)
    first.unmerge()
    second.unmerge()
    assert same(weights(unet), before)


def test_threads_merge_one_after_the_other(targets: dict[str, nn.Module]) -> None:
    networks = [perturbed(targets, seed=seed) for seed in range(4)]
    before = weights(targets["unet"])

    def work(network: Network) -> None:
        for _ in range(5):
            network.merge()
            network.unmerge()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, networks))
    assert same(weights(targets["unet"]), before)


def test_autocast_does_not_round_what_is_merged(targets: dict[str, nn.Module]) -> None:
    network, unet = perturbed(targets, "glora"), targets["unet"]  # it is built by products
    network.merge()
    wanted = weights(unet)
    network.unmerge()
    with torch.autocast("cpu", torch.bfloat16):
        network.merge()
    assert same(weights(unet), wanted)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.second.weight = self.first.weight


class TiedToTable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(8, 8), nn.Linear(8, 8, bias=False)
        self.head.weight = self.table.weight


def computed() -> nn.Module:
    return nn.Sequential(parametrizations.weight_norm(nn.Linear(8, 8)))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Tied, r"model\.first: its weight is also that of model\.second.*1 more layer"),
        (TiedToTable, r"model\.head: its weight is also that of model\.table"),
        (computed, "computed anew at every use"),
        (lambda: nn.Sequential(nn.Linear(8, 8, device="meta")), "meta device"),
    ],
)
def test_weights_that_cannot_take_an_update_are_refused(
    model: Callable[[], nn.Module], words: str
) -> None:
    module = model().requires_grad_(False)
    network = build_network({"model": module}, NetworkConfig(network_dim=2), warn=False)
    with pytest.raises(ConfigError, match=words):
        network.merge()
    network.inject()  # it is not taken for merged
