"""Base models with quantised weights: adapted through activations, never merged, never read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import bitsandbytes
import pytest
import torch
from torch import Tensor, nn

from lycoris_ext.algorithms import Algorithm, registry
from lycoris_ext.algorithms.parts import Factor, Whole, kaiming
from lycoris_ext.errors import ConfigError
from lycoris_ext.functional import Delta, LayerSpec
from lycoris_ext.network import LayerOverride, Network, NetworkConfig, build_network, load_network

WIDTHS = (96, 80)


class Int8Linear(nn.Linear):
    """Holds rows of int8 with a scale each, two rows packed into one."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features)
        weight = linear.weight.detach()
        self.scale = weight.abs().amax(1, keepdim=True) / 127
        packed = (weight / self.scale).round().to(torch.int8).reshape(len(weight) // 2, -1)
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.reshape(self.out_features, self.in_features).to(x.dtype) * self.scale
        return nn.functional.linear(x, weight, self.bias)


class Fp8Linear(nn.Module):
    """Holds its weight in fp8, as some trainers have it, and is no subclass of torch's Linear."""

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)  # not the next class's, where there is one
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight_scale = linear.weight.detach().abs().amax() / 448
        weight = (linear.weight.detach() / self.weight_scale).to(torch.float8_e4m3fn)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.to(x.dtype) * self.weight_scale
        return nn.functional.linear(x, weight, self.bias)


class Fp8Subclass(Fp8Linear, nn.Linear):
    """The same fp8 layer as a subclass of Linear: its weight has the wrong dtype alone."""


def from_bitsandbytes(name: str) -> Any:
    def make(linear: nn.Linear) -> nn.Module:
        settings = {"has_fp16_weights": False} if name == "Linear8bitLt" else {}
        module = getattr(bitsandbytes.nn, name)(linear.in_features, linear.out_features, **settings)
        module.load_state_dict(linear.state_dict())
        return module.to("cpu")

    return make


BASES = {
    "int8": Int8Linear,
    "fp8": Fp8Linear,
    "fp8 subclass": Fp8Subclass,
    "bitsandbytes 8-bit": from_bitsandbytes("Linear8bitLt"),
    "bitsandbytes NF4": from_bitsandbytes("LinearNF4"),
    "bitsandbytes FP4": from_bitsandbytes("LinearFP4"),
}
FAMILIES = {
    "lora": {"algo": "lora"},
    "loha": {"algo": "loha"},
    "lokr": {"algo": "lokr", "factor": 8},
}
every_base = pytest.mark.parametrize("kind", BASES)
# bitsandbytes' own, on a CPU
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def quantised(kind: str) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(BASES[kind](nn.Linear(*WIDTHS))).requires_grad_(False)


def perturbed(network: Network) -> Network:
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.3, generator=generator)
    return network


@every_base
@pytest.mark.parametrize("algo", FAMILIES)
def test_lora_loha_and_lokr_train_on_quantised_weights(
    kind: str, algo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = quantised(kind)
    config = NetworkConfig(**FAMILIES[algo], network_dim=4)  # type: ignore[arg-type]
    network = perturbed(build_network({"model": model}, config))
    (layer,) = network.layers.values()
    assert (layer.plan.layer.in_features, layer.plan.layer.out_features) == WIDTHS
    before = model[0].weight.clone()
    x = torch.randn(3, 5, WIDTHS[0], requires_grad=True)
    plain, update = model(x).detach(), x.detach() @ layer.delta().dense().T
    way = Delta.apply
    ways: list[str] = []
    monkeypatch.setattr(Delta, "apply", lambda s, x, o, p: ways.append(p) or way(s, x, o, p))
    with network.injected():
        out = model(x)
        out.square().sum().backward()
    assert ways[0] == "chain"  # through thin activations, whatever the weight looks like
    torch.testing.assert_close(out.detach(), plain + update, rtol=1e-4, atol=1e-4)
    for parameter in (*network.parameters(), x):
        assert parameter.grad is not None and float(parameter.grad.abs().sum()) > 0
    assert torch.equal(model[0].weight, before)
    monkeypatch.undo()
    again = load_network(network.adapter_state(dtype=None), {"model": model})
    with again.injected():
        torch.testing.assert_close(model(x), out)


@every_base
def test_training_on_a_quantised_base_lowers_the_loss(kind: str) -> None:
    model = quantised(kind)
    network = build_network({"model": model}, NetworkConfig(network_dim=4, network_alpha=4))
    x = torch.randn(64, WIDTHS[0])
    wanted = model(x).detach() + x @ torch.randn(WIDTHS[0], 2) @ torch.randn(2, WIDTHS[1]) * 0.05
    optimizer = torch.optim.AdamW(network.param_groups(3e-2), weight_decay=0.0)
    losses = []
    with network.injected():
        for _ in range(40):
            loss = (model(x) - wanted).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]


@every_base
def test_merging_into_quantised_weights_is_refused_and_changes_nothing(kind: str) -> None:
    model = nn.Sequential(nn.Linear(WIDTHS[1], WIDTHS[0]), *quantised(kind))
    network = perturbed(build_network({"model": model}, NetworkConfig(network_dim=4)))
    first = model[0].weight.clone()
    with pytest.raises(ConfigError) as caught:
        network.merge()
    text = str(caught.value)
    assert f"model.1: {type(model[1]).__name__} holds a packed weight of " in text
    assert "inject the network instead of merging it" in text
    assert torch.equal(model[0].weight, first)
    with network.injected():  # it is not taken for merged
        model(torch.randn(2, WIDTHS[1]))


class Whatever(Algorithm):
    """An algorithm whose update exists as a whole matrix alone."""

    name = "whatever"
    parts: ClassVar = {"w": (Whole(Factor("w", "out in k", kaiming, zero=True)),)}

    @classmethod
    def delta(cls, parts: Mapping[str, Delta], layer: LayerSpec, scale: float) -> Delta:
        return parts["w"]


@pytest.fixture
def whatever(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(registry._REGISTRY, Whatever.name, Whatever)
    return Whatever.name


def test_an_algorithm_that_needs_the_matrix_is_refused_on_quantised_weights(whatever: str) -> None:
    model = nn.Sequential(nn.Linear(8, 8), *quantised("int8"))
    build_network({"model": model[:1]}, NetworkConfig(algo=whatever))
    with pytest.raises(ConfigError) as caught:
        build_network({"model": model}, NetworkConfig(algo=whatever))
    text = str(caught.value)
    assert "model.1, algo: Int8Linear holds a packed weight of int8 (40, 192)" in text
    assert 'algo = "whatever" cannot be computed so' in text and "plain loha or lora" in text
    override = LayerOverride(match=r"model\.1", algo=whatever)
    with pytest.raises(ConfigError, match=r"model\.1, overrides, match = .*: algo: Int8Linear"):
        build_network({"model": model}, NetworkConfig(network_dim=4, overrides=(override,)))
    mended = LayerOverride(match=r"model\.1", algo="loha", network_dim=4)
    build_network({"model": model}, NetworkConfig(algo=whatever, overrides=(mended,)))


def test_bypass_mode_is_refused_for_an_algorithm_that_needs_the_matrix(whatever: str) -> None:
    model = nn.Sequential(nn.Linear(8, 8))
    with pytest.raises(ConfigError) as caught:
        build_network({"model": model}, NetworkConfig(algo=whatever, bypass_mode=True))
    text = str(caught.value)
    assert "model.0, bypass_mode: bypass_mode computes the adapter's output from" in text
    assert 'algo = "whatever" cannot be computed so' in text
    assert "remove bypass_mode" in text and "such as loha" in text


class Packed(Tensor):
    """Stands for torchao's weights: a subclass of Tensor in a Linear of torch's own class."""


def test_a_weight_of_a_foreign_tensor_type_is_not_merged_in_the_forward() -> None:
    module = nn.Linear(8, 8)
    spec = LayerSpec.from_module(module)
    assert spec.holds(module.weight) and spec.holds(module.weight.detach().bfloat16())
    assert not spec.holds(module.weight.detach().to(torch.float8_e4m3fn))
    assert not spec.holds(module.weight.detach().as_subclass(Packed))
    assert not spec.holds(module.weight.detach().reshape(4, 16))
    module.weight = nn.Parameter(module.weight.detach().as_subclass(Packed))
    model = nn.Sequential(module)
    network = perturbed(build_network({"model": model}, NetworkConfig(network_dim=2)))
    with network.injected():
        forward, paths = module.forward, []
        (adapter,) = forward.adapters
        adapter.path = lambda *arguments: paths.append(arguments[2]) or "chain"
        module(torch.randn(2, 8))
    assert paths == [False]


def test_a_module_that_only_looks_like_a_linear_is_not_adapted() -> None:
    class WrappedLinear(nn.Module):
        """Has the widths of a Linear and holds one, as PEFT's layers do."""

        in_features, out_features = 8, 8

        def __init__(self) -> None:
            super().__init__()
            self.base_layer = nn.Linear(8, 8)

    assert not LayerSpec.supports(WrappedLinear()) and not LayerSpec.supports(nn.Bilinear(2, 2, 2))


READERS = {
    "ia3": {"algo": "ia3"},
    "ia3 on input": {"algo": "ia3", "train_on_input": True},
    "diag-oft": {"algo": "diag-oft"},
    "boft": {"algo": "boft", "rescaled": True},
    "glora": {"algo": "glora"},
}


@pytest.mark.parametrize("kind", ["int8", "fp8", "fp8 subclass"])
@pytest.mark.parametrize("form", READERS)
def test_updates_that_depend_on_the_base_are_the_same_on_quantised_weights(
    kind: str, form: str
) -> None:
    """Compare with a plain layer that holds the same numbers."""
    config = NetworkConfig(**READERS[form], network_dim=10)  # type: ignore[arg-type]
    packed, plain = quantised(kind), nn.Sequential(nn.Linear(*WIDTHS)).requires_grad_(False)
    bias = packed[0].bias.detach()
    plain[0].bias.copy_(bias)
    plain[0].weight.copy_((packed(torch.eye(WIDTHS[0])) - bias).T)
    x = torch.randn(3, 5, WIDTHS[0])
    found = []
    for model in (packed, plain):
        network = perturbed(build_network({"model": model}, config))
        with network.injected():
            out = model(x)
            out.square().mean().backward()
        found.append([out.detach(), *(parameter.grad for parameter in network.parameters())])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("algo", ["loha", "lora", "lokr"])
def test_dora_on_quantised_weights_is_refused(algo: str) -> None:
    config = NetworkConfig(algo=algo, network_dim=4, dora_wd=True)
    with pytest.raises(ConfigError) as caught:
        build_network({"model": quantised("int8")}, config)
    text = str(caught.value)
    assert (
        "model.0, dora_wd: Int8Linear holds a packed weight of int8 (40, 192), and dora_wd " in text
    )
    assert "use plain loha or lora" in text
