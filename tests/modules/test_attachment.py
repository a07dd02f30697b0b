"""Injecting leaves no trace, survives wrapping by hosts and pickling, and drops as asked."""

from __future__ import annotations

import copy
import functools
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lycoris_ext.errors import ConfigError
from lycoris_ext.modules import Dropouts, attach, detach
from lycoris_ext.network import Network, NetworkConfig, build_network


def perturbed(module: nn.Module, **options: object) -> Network:
    config = NetworkConfig(network_dim=2, **options)  # type: ignore[arg-type]
    network = build_network({"model": module}, config, warn=False)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5)
    return network


def test_a_removed_network_leaves_no_trace() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.Conv2d(3, 3, 3))
    keys, state = list(module.state_dict()), {id(m): dict(m.__dict__) for m in module.modules()}
    network = perturbed(module)
    with network.injected():
        assert list(module.state_dict()) == keys
        assert isinstance(module[0], nn.Linear)
    assert {id(m): dict(m.__dict__) for m in module.modules()} == state


def test_injecting_twice_is_refused() -> None:
    network = perturbed(nn.Sequential(nn.Linear(4, 3)))
    with network.injected(), pytest.raises(ConfigError, match="injected already"):
        network.inject()
    with network.injected(), pytest.raises(ConfigError, match="injected already"):
        network.merge()
    network.merge()
    with pytest.raises(ConfigError, match="merged into the weights already"):
        network.merge()


def test_an_error_inside_injected_still_removes_the_network() -> None:
    module = nn.Sequential(nn.Linear(4, 3))
    network = perturbed(module)
    with pytest.raises(RuntimeError), network.injected():
        raise RuntimeError
    assert "forward" not in module[0].__dict__


def test_a_hosts_wrapper_around_a_removed_network_passes_through() -> None:
    module = nn.Linear(4, 3)
    x, network = torch.randn(2, 4), perturbed(nn.Sequential(module))
    before, calls = module(x), []
    network.inject()
    inner = module.forward

    @functools.wraps(inner)
    def wrapper(*args: Tensor) -> Tensor:
        calls.append(1)
        return inner(*args)

    module.forward = wrapper  # type: ignore[method-assign]
    network.remove()
    assert module.forward is wrapper
    assert torch.equal(module(x), before)
    assert calls


def test_a_wrapper_that_was_there_first_comes_back() -> None:
    module = nn.Linear(4, 3)
    own = module.forward
    module.forward = functools.partial(own)  # type: ignore[method-assign]
    wrapper = module.forward
    x, network = torch.randn(2, 4), perturbed(nn.Sequential(module))
    before = module(x)
    with network.injected():
        assert not torch.equal(module(x), before)
    assert module.forward is wrapper


def test_an_injected_model_pickles() -> None:
    module = nn.Sequential(nn.Linear(4, 3))
    x, network = torch.randn(2, 4), perturbed(module)
    with network.injected():
        again = pickle.load(io.BytesIO(pickle.dumps(module)))
        assert torch.equal(again(x), module(x))


class Quantised(nn.Linear):
    """Stands for subclasses of Linear whose forward does not compute with their weight alone."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight * 2, self.bias)


def test_a_subclass_of_linear_keeps_its_own_forward() -> None:
    module = Quantised(40, 30)
    x, network = torch.randn(2, 40), perturbed(nn.Sequential(module))
    (layer,) = network.layers.values()
    with network.injected():
        found = module(x)
    torch.testing.assert_close(found, module(x) + x @ layer.delta().dense().T)


def tiled(module: nn.Module) -> None:
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return nn.functional.conv2d(nn.functional.pad(x, [1] * 4, "circular"), weight, bias)

    module._conv_forward = forward


def padded_otherwise(module: nn.Module) -> None:
    module.padding_mode = "circular"


@pytest.mark.parametrize("change", [tiled, padded_otherwise])
def test_a_convolution_that_a_script_has_changed_stays_changed(
    change: Callable[[nn.Module], None],
) -> None:
    """Scripts make pictures tile like this, before or after a network is injected."""
    module = nn.Conv2d(8, 80, 3, padding=1)
    network = build_network({"model": nn.Sequential(module)}, NetworkConfig(network_dim=2))
    x = torch.randn(1, 8, 2, 2)
    with network.injected():
        change(module)
        found = module(x)
    torch.testing.assert_close(found, module(x))
    with network.injected():
        torch.testing.assert_close(module(x), found)


def test_a_forward_that_a_host_gives_torchs_class_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = nn.Linear.forward
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: 2 * original(self, x))
    module, x = nn.Linear(8, 8), torch.randn(2, 8)
    network = build_network({"model": nn.Sequential(module)}, NetworkConfig(network_dim=2))
    with network.injected():
        found = module(x)
    torch.testing.assert_close(found, module(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("module", [nn.Linear(8, 8), nn.Conv2d(8, 8, 1)], ids=["linear", "conv"])
def test_only_float32_weights_are_merged_in_the_forward(
    module: nn.Module, dtype: torch.dtype
) -> None:
    """A sum in bf16 would swallow the update."""
    module = module.to(dtype).requires_grad_(False)
    network = perturbed(nn.Sequential(module))
    asked: list[bool] = []
    (layer,) = network.layers.values()
    layer.path = lambda delta, tokens, can_merge: asked.append(can_merge) or "chain"  # type: ignore[method-assign,assignment,func-returns-value]
    with network.injected():
        module(torch.randn(8, 8, *([4, 4] if isinstance(module, nn.Conv2d) else []), dtype=dtype))
    assert asked == [dtype == torch.float32]


def mean_over_draws(options: dict[str, float], draws: int = 2000) -> tuple[Tensor, Tensor, Network]:
    torch.manual_seed(0)
    module = nn.Linear(6, 5)
    network = perturbed(nn.Sequential(module), **options)
    (layer,) = network.layers.values()
    x = torch.randn(3, 6)
    update = x @ layer.delta().dense().T if not options else None
    network.train()
    with torch.no_grad(), network.injected():
        base = nn.functional.linear(x, module.weight, module.bias)
        outs = torch.stack([module(x) - base for _ in range(draws)])
    network.eval()
    with torch.no_grad(), network.injected():
        update = module(x) - base
    return outs, update, network


@pytest.mark.parametrize("trained", ["weight", "bias"])
def test_a_base_that_learns_keeps_its_gradients(
    trained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = nn.Sequential(nn.Linear(200, 150)).requires_grad_(False)
    network, x = perturbed(module), torch.randn(100, 200)
    (layer,) = network.layers.values()
    parameter = getattr(module[0], trained).requires_grad_()
    monkeypatch.setattr(layer, "path", lambda _, __, can_merge: "merged" if can_merge else "chain")

    def gradient() -> Tensor:
        (found,) = torch.autograd.grad(module(x).sin().sum(), parameter)
        return found

    with network.injected():
        found = gradient()
    network.merge()
    torch.testing.assert_close(found, gradient(), rtol=1e-3, atol=1e-3)


def test_plain_dropout_zeroes_elements_and_keeps_the_mean() -> None:
    outs, update, _ = mean_over_draws({"dropout": 0.5})
    dropped = (outs.abs() < 1e-6).float().mean()
    assert 0.45 < dropped < 0.55
    torch.testing.assert_close(outs.mean(0), update, rtol=0.15, atol=0.15)


def test_rank_dropout_zeroes_whole_output_rows() -> None:
    outs, update, _ = mean_over_draws({"rank_dropout": 0.3})
    gone = (outs.abs() < 1e-6).all(1)  # (draws, out)
    assert 0.25 < gone.float().mean() < 0.35
    kept = ~gone.unsqueeze(1).expand_as(outs)
    torch.testing.assert_close(outs[kept], update.expand_as(outs)[kept], rtol=1e-4, atol=1e-5)


def test_module_dropout_drops_the_whole_update() -> None:
    outs, update, _ = mean_over_draws({"module_dropout": 0.25})
    gone = (outs.abs() < 1e-6).flatten(1).all(1)
    assert 0.2 < gone.float().mean() < 0.3
    torch.testing.assert_close(outs[~gone], update.expand_as(outs)[~gone], rtol=1e-4, atol=1e-5)


def test_the_same_seed_drops_the_same() -> None:
    module = nn.Linear(6, 5)
    network = perturbed(nn.Sequential(module), dropout=0.5, rank_dropout=0.5, module_dropout=0.5)
    network.train()
    x = torch.randn(3, 6)
    with network.injected():
        results = []
        for seed in (1, 2, 1):
            torch.manual_seed(seed)
            results.append(module(x))
    assert torch.equal(results[0], results[2])
    assert not torch.equal(results[0], results[1])


@pytest.mark.parametrize("name", ["dropout", "rank_dropout", "module_dropout"])
@pytest.mark.parametrize("value", [-0.1, 1.0, 2.0])
def test_a_dropout_out_of_range_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name}: is {value}"):
        Dropouts(**{name: value})


def test_an_injection_that_fails_halfway_leaves_no_trace() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3))
    network = perturbed(module)
    _, second = network.layers.values()
    blocked = attach(module[1], second)
    with pytest.raises(ConfigError, match="attached already"):
        network.inject()
    assert not network.is_injected
    assert "forward" not in module[0].__dict__
    detach(blocked, second)
    network.inject()


def test_a_copy_of_an_injected_model_and_its_network_is_independent() -> None:
    module, x = nn.Sequential(nn.Linear(4, 3)), torch.randn(2, 4)
    network, before = perturbed(module), module(x)
    network.inject()
    other, its_network = copy.deepcopy((module, network))
    assert torch.equal(other(x), module(x))
    its_network.remove()
    assert torch.equal(other(x), before)
    assert not torch.equal(module(x), before)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")  # torch's own use of it
@pytest.mark.parametrize("masked", [False, True])
def test_torchs_fused_transformer_uses_the_adapters_in_eval_mode(masked: bool) -> None:
    """It computes with the weights of the layers inside it alone, unless that is switched off."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, 2).requires_grad_(False).eval()
    first, second = perturbed(model), perturbed(model)
    state = {name: dict(module.__dict__) for name, module in model.named_modules()}
    x = torch.randn(2, 5, 16)
    mask = torch.tensor([[False] * 5, [False] * 3 + [True] * 2]) if masked else None
    before = model(x, src_key_padding_mask=mask)
    first.inject()
    second.inject()
    first.remove()
    found = model(x, src_key_padding_mask=mask)
    second.remove()
    assert {name: dict(module.__dict__) for name, module in model.named_modules()} == state
    second.merge()
    wanted = model(x, src_key_padding_mask=mask)
    kept = slice(None) if mask is None else ~mask
    torch.testing.assert_close(found[kept], wanted[kept], rtol=1e-4, atol=1e-4)
    assert (wanted - before)[kept].abs().max() > 0.01
