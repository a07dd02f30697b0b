"""Every algorithm on layers that store their weight with the inputs first.

The reference adds the update to the weight and calls torch's function; nothing of ours but the
numbers of the update is in it. That these are right follows from the other tests of the contract,
as they do not depend on the kind of layer.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lycoris_ext.algorithms import algorithm
from lycoris_ext.errors import ConfigError
from lycoris_ext.functional import FrozenLayer, InputsFirst, spec_of
from lycoris_ext.network import Network, NetworkConfig, build_network, load_network
from tests.contract.cases import FORMS, config_of, only_layer, perturbed

_WORDS = (torch.tensor([[1, 9, 3, 1], [3, 0, 2, 2]]),)
_BAG = (torch.tensor([1, 9, 3, 1, 3, 0, 2]), torch.tensor([0, 3, 3]))
# name -> (layer, what it is called with)
KINDS: dict[str, tuple[Callable[[], nn.Module], tuple[Any, ...], dict[str, Any]]] = {
    "words": (lambda: nn.Embedding(10, 24), _WORDS, {}),
    "one word": (lambda: nn.Embedding(10, 24), (torch.tensor(3),), {}),
    "words with padding": (lambda: nn.Embedding(10, 24, padding_idx=3), _WORDS, {}),
    "sparse words": (lambda: nn.Embedding(10, 24, sparse=True), _WORDS, {}),
    "bags": (lambda: nn.EmbeddingBag(10, 24, mode="sum"), _BAG, {}),
    "bags' means": (lambda: nn.EmbeddingBag(10, 24, padding_idx=3), _BAG, {}),
    "1d": (lambda: nn.ConvTranspose1d(4, 6, 3, 2, 1, 1), ((2, 4, 9),), {}),
    "2d grouped": (lambda: nn.ConvTranspose2d(8, 4, 3, 2, groups=2), ((2, 8, 4, 4),), {}),
    "2d, one input": (lambda: nn.ConvTranspose2d(4, 8, 3, groups=4), ((2, 4, 4, 4),), {}),
    "2d dilated": (
        lambda: nn.ConvTranspose2d(4, 6, (2, 3), dilation=2, bias=False),
        ((2, 4, 4, 4),),
        {},
    ),
    "2d of a size": (
        lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1),
        ((2, 4, 4, 4),),
        {"output_size": [8, 8]},
    ),
    "2d pointwise": (lambda: nn.ConvTranspose2d(4, 6, 1), ((2, 4, 4, 4),), {}),
    "3d": (lambda: nn.ConvTranspose3d(2, 4, 3, padding=1), ((2, 2, 4, 4, 4),), {}),
}
_REFUSED = ("norm", "tlora")  # for normalisations; see test_what_cannot_work_is_refused
CASES = [
    (algo, form, kind)
    for algo in FORMS
    if algo not in _REFUSED
    for form in FORMS[algo]
    for kind in KINDS
]
every_case = pytest.mark.parametrize(("algo", "form", "kind"), CASES)


class Model(nn.Module):
    """A layer of one of these kinds, and a Linear that no test adapts."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(2, 2)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        out: Tensor = self.layer(*args, **kwargs)
        return out


def named(config: NetworkConfig, **more: Any) -> NetworkConfig:
    return NetworkConfig(**{**config.values(), "include": ("layer",), "exclude": ("head",), **more})


def make(
    algo: str, form: str, kind: str, dtype: torch.dtype = torch.float64
) -> tuple[Model, Network, tuple[Any, ...], dict[str, Any]]:
    """Return a model, a perturbed network over its layer, and the arguments of a call."""
    torch.manual_seed(1)
    build, args, kwargs = KINDS[kind]
    model = Model(build()).to(dtype).requires_grad_(False)
    network = build_network({"model": model}, named(config_of(algo, form)))
    args = tuple(torch.randn(arg, dtype=dtype) if isinstance(arg, tuple) else arg for arg in args)
    return model, perturbed(network).to(dtype).eval(), args, kwargs


def reference(layer: Any, weight: Tensor, bias: Tensor | None, args: Any, kwargs: Any) -> Tensor:
    """Compute a layer for another weight, (inputs, outputs / groups, ...), with torch alone."""
    if isinstance(layer, nn.Embedding):
        return weight[args[0]]
    if isinstance(layer, nn.EmbeddingBag):
        ends = [*args[1].tolist()[1:], len(args[0])]
        bags = [args[0][start:end] for start, end in zip(args[1].tolist(), ends, strict=True)]
        if layer.padding_idx is not None:
            bags = [bag[bag != layer.padding_idx] for bag in bags]
        shares = [1 if layer.mode == "sum" else max(1, len(bag)) for bag in bags]
        return torch.stack([weight[b].sum(0) / n for b, n in zip(bags, shares, strict=True)])
    extra = layer.output_padding
    if kwargs:
        extra = (1,) * len(layer.kernel_size)  # what the sizes of these cases ask for
    conv = getattr(F, f"conv_transpose{len(layer.kernel_size)}d")
    sides = layer.stride, layer.padding, extra, layer.groups, layer.dilation
    out: Tensor = conv(args[0], weight, bias, *sides)
    return out


def sum_of_weights(layer: Any, update: Tensor) -> Tensor:
    """Add an update, outputs first, to the layer's weight as it is stored, number by number."""
    weight, groups = layer.weight.clone(), getattr(layer, "groups", 1)
    outs, ins = update.shape[0] // groups, update.shape[1]
    for group in range(groups):
        part = update[group * outs : (group + 1) * outs]
        for i in range(ins):
            weight[group * ins + i] = weight[group * ins + i] + part[:, i]
    fixed = getattr(layer, "padding_idx", None)
    if fixed is not None:
        weight[fixed] = layer.weight[fixed]
    return weight


@every_case
def test_output_and_gradients_are_those_of_the_weight_with_the_update_added(
    algo: str, form: str, kind: str
) -> None:
    model, network, args, kwargs = make(algo, form, kind)
    host, layer = model.layer, only_layer(network)
    before = model(*args, **kwargs)
    leaves = list(layer.parameters())
    if args[0].is_floating_point():
        args = (args[0].requires_grad_(),)
        leaves.append(args[0])
    delta = layer.delta(FrozenLayer.of(host, layer.plan.layer))
    of_bias, bias = delta.bias(), getattr(host, "bias", None)
    bias = bias if of_bias is None else bias + of_bias
    wanted = reference(host, sum_of_weights(host, delta.dense()), bias, args, kwargs)
    with network.injected():
        found = model(*args, **kwargs)
    assert (found - before).abs().max() > 1e-6
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
    of_both = [
        torch.autograd.grad((out * out.sin()).sum(), leaves, retain_graph=True)
        for out in (found, wanted)
    ]
    for of_found, of_wanted in zip(*of_both, strict=True):
        torch.testing.assert_close(of_found, of_wanted, rtol=1e-9, atol=1e-11)


@every_case
def test_merged_loaded_and_resumed_it_computes_the_same(
    algo: str, form: str, kind: str, tmp_path: Path
) -> None:
    model, network, args, kwargs = make(algo, form, kind)
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with network.injected():
        found = model(*args, **kwargs)
    network.merge()
    torch.testing.assert_close(model(*args, **kwargs), found, rtol=1e-5, atol=1e-5)
    network.unmerge()
    assert all(torch.equal(model.state_dict()[name], own[name]) for name in own)
    network.save(tmp_path / "a.safetensors", dtype=None)
    loaded = load_network(tmp_path / "a.safetensors", {"model": model}).double()
    assert only_layer(loaded).plan.rank in (only_layer(network).plan.rank, 0)
    resumed = build_network({"model": model}, named(config_of(algo, form)), seed=5).double().eval()
    resumed.load_state_dict(network.state_dict())
    for other in (loaded, resumed):
        with other.injected():
            torch.testing.assert_close(model(*args, **kwargs), found, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algo", sorted(FORMS.keys() - set(_REFUSED)))
def test_a_fresh_adapter_changes_nothing_and_two_of_them_add_up(algo: str, kind: str) -> None:
    model, network, args, kwargs = make(algo, "plain", kind)
    before = model(*args, **kwargs)
    fresh = build_network({"model": model}, named(config_of(algo, "plain")))
    with fresh.injected():
        torch.testing.assert_close(model(*args, **kwargs), before, rtol=1e-6, atol=1e-7)
    with network.injected():
        one = model(*args, **kwargs) - before
        with perturbed(fresh).double().injected():
            torch.testing.assert_close(model(*args, **kwargs) - before, 2 * one)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_every_geometry_of_a_transposed_convolution_is_computed_as_the_merged_layer(
    data: st.DataObject,
) -> None:
    axes = data.draw(st.integers(1, 3))

    def sides(low: int, high: int) -> tuple[int, ...]:
        return data.draw(st.tuples(*[st.integers(low, high)] * axes))

    groups, ins, outs = (data.draw(st.integers(1, 3)) for _ in range(3))
    kernel, stride, padding, dilation = sides(1, 3), sides(1, 3), sides(0, 2), sides(1, 2)
    extra = tuple(
        data.draw(st.integers(0, max(step, gap) - 1))
        for step, gap in zip(stride, dilation, strict=True)
    )
    size = sides(1, 4)
    known = zip(size, kernel, stride, padding, dilation, extra, strict=True)
    assume(all((n - 1) * s - 2 * p + d * (k - 1) + e + 1 > 0 for n, k, s, p, d, e in known))
    kind = getattr(nn, f"ConvTranspose{axes}d")
    layer = kind(
        ins * groups, outs * groups, kernel, stride, padding, extra, groups,
        data.draw(st.booleans()), dilation,
    )  # fmt: skip
    model = Model(layer).double().requires_grad_(False)
    algo = data.draw(st.sampled_from(["loha", "lokr", "full", "ia3"]))
    network = perturbed(
        build_network({"model": model}, named(NetworkConfig(algo=algo, network_dim=1)))
    ).double()
    x = torch.randn(2, ins * groups, *size, dtype=torch.float64)
    with network.injected():
        found, one = model(x), model(x[0])
    torch.testing.assert_close(one, found[0])
    network.merge()
    torch.testing.assert_close(model(x), found, rtol=1e-5, atol=1e-5)
    assert spec_of(layer).stored_shape == tuple(layer.weight.shape)  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", KINDS)
def test_checkpointing_autocast_and_dropout_work(kind: str) -> None:
    model, network, args, kwargs = make("loha", "plain", kind, torch.float32)
    parameters = list(network.parameters())

    def gradients(out: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(out.float().square().sum(), parameters)

    with network.injected():
        plain = gradients(model(*args, **kwargs))
        again = gradients(checkpoint(model, *args, use_reentrant=False, **kwargs))
        torch.testing.assert_close(again, plain)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = gradients(model(*args, **kwargs))
        torch.testing.assert_close(half, plain, rtol=0.1, atol=0.1 * float(plain[0].abs().max()))
        model.bfloat16()
        low = [arg.bfloat16() if arg.is_floating_point() else arg for arg in args]
        assert model(*low, **kwargs).dtype == torch.bfloat16
        model.float()
    before = model(*args, **kwargs)
    layer = only_layer(network).train()
    layer.dropouts = type(layer.dropouts)(dropout=0.5)
    torch.manual_seed(0)
    with network.injected():
        update = model(*args, **kwargs) - before
        assert 0.2 < (update.abs() < 1e-6).float().mean() < 0.8


def test_what_cannot_work_is_refused_with_the_layer_and_the_reason() -> None:
    for layer in (nn.Embedding(8, 8), nn.ConvTranspose2d(8, 8, 1)):
        for options, what in (
            ({"algo": "tlora"}, "other ranks for each sample"),
            ({"bypass_mode": True}, f"{type(layer).__name__} cannot be computed so"),
        ):
            config = NetworkConfig(include=("layer",), exclude=("head",), **options)  # type: ignore[arg-type]
            with pytest.raises(ConfigError, match=f"model.layer.*{what}"):
                build_network({"model": Model(layer)}, config)


class Scaled(nn.Embedding):
    """As Gemma's: the output is no row of the weight."""

    def forward(self, words: Tensor) -> Tensor:
        return super().forward(words) * 4.0


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (Scaled(8, 4), "does not compute as torch's Embedding does"),
        (nn.Embedding(8, 4, max_norm=1.0), "max_norm"),
        (nn.EmbeddingBag(8, 4, mode="max"), 'mode = "max"'),
    ],
)
def test_a_layer_that_an_update_cannot_be_added_to_is_named(layer: nn.Module, why: str) -> None:
    assert spec_of(layer) is None
    with pytest.raises(ConfigError, match=f"fits only what cannot be adapted: model.layer .*{why}"):
        build_network({"model": Model(layer)}, NetworkConfig(include=("layer",)))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # hifi-gan's vocoders have the old one
@pytest.mark.parametrize("norm", [nn.utils.parametrizations.weight_norm, nn.utils.weight_norm])
def test_a_weight_that_is_computed_anew_is_adapted_and_not_merged(norm: Any) -> None:
    layer = norm(nn.ConvTranspose1d(4, 6, 3))
    model = Model(layer).requires_grad_(False)
    network = perturbed(build_network({"model": model}, named(NetworkConfig(network_dim=2))))
    x = torch.randn(2, 4, 5)
    delta = only_layer(network).delta()
    wanted = F.conv_transpose1d(x, layer.weight + delta.dense().transpose(0, 1), layer.bias)
    with network.injected():
        torch.testing.assert_close(model(x), wanted)
    with pytest.raises(ConfigError, match="computed anew"):
        network.merge()


def test_limits_of_norms_and_sizes_hold_for_them() -> None:
    _, network, _, _ = make("loha", "plain", "2d grouped")
    spec = only_layer(network).plan.layer
    assert isinstance(spec, InputsFirst) and spec.weight_shape == (4, 4, 3, 3)
    scaled, norms = network.limit_norms(0.1)
    assert scaled == 1 and float(norms[0]) == pytest.approx(0.1, rel=1e-4)
    assert algorithm("loha").plan(spec, 2, 1.0).useful_rank == 4
