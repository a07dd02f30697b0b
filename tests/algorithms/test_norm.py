"""Normalisations: which ones are adapted, what they compute, and which files do not fit them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lycoris_ext.errors import ConfigError, FormatError, ShapeError
from lycoris_ext.formats import AdapterState
from lycoris_ext.functional import NormSpec, spec_of
from lycoris_ext.network import NetworkConfig, build_network, load_network

LAYERS = [
    (nn.LayerNorm(6, eps=1e-3), (2, 4, 6)),
    (nn.LayerNorm(6, bias=False), (4, 6)),
    (nn.GroupNorm(2, 6, eps=1e-6), (2, 6, 5, 3)),
    (nn.GroupNorm(3, 6), (2, 6, 5)),
    (nn.RMSNorm(6), (2, 4, 6)),
]


@pytest.mark.parametrize(("module", "shape"), LAYERS)
def test_a_norm_spec_computes_what_the_module_computes(module: Any, shape: tuple[int, ...]) -> None:
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    spec = NormSpec.from_module(module)
    x = torch.randn(shape)
    bias = getattr(module, "bias", None)
    assert spec.has_bias == (bias is not None)
    assert spec.weight_shape == tuple(module.weight.shape)
    assert spec.tokens(x) == x.numel() // 6
    torch.testing.assert_close(spec.op(x, module.weight, bias), module(x))


@pytest.mark.parametrize(
    "module",
    [
        nn.LayerNorm(6, elementwise_affine=False),
        nn.GroupNorm(2, 6, affine=False),
        nn.LayerNorm((4, 6)),  # LyCORIS's file has one number for each of the 4
        nn.BatchNorm2d(6),
    ],
)
def test_a_normalisation_without_a_weight_for_each_channel_is_not_adapted(
    module: nn.Module,
) -> None:
    assert spec_of(module) is None
    with pytest.raises(ShapeError, match=f"{type(module).__name__} is no normalisation"):
        NormSpec.from_module(module)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.bare = nn.LayerNorm(6, elementwise_affine=False)
        self.group = nn.GroupNorm(2, 6)
        self.linear = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(self.group(self.bare(self.norm(x))))
        return out


def algorithms(config: NetworkConfig) -> dict[str, str]:
    layers = build_network({"model": Block()}, config).layers
    return {key: layer.plan.algorithm.name for key, layer in layers.items()}


def test_train_norm_adds_the_normalisations_to_any_algorithm() -> None:
    norms = {"lycoris_norm": "norm", "lycoris_group": "norm"}
    assert algorithms(NetworkConfig(network_dim=4)) == {"lycoris_linear": "loha"}
    both = NetworkConfig(algo="lora", network_dim=4, train_norm=True, dora_wd=True, use_scalar=True)
    assert algorithms(both) == {"lycoris_linear": "lora", **norms}
    assert algorithms(NetworkConfig(algo="norm")) == norms
    without = NetworkConfig(network_dim=4, train_norm=True, exclude=(r"\.group$",))
    assert algorithms(without) == {"lycoris_linear": "loha", "lycoris_norm": "norm"}


def test_a_pattern_for_normalisations_fits_nothing_without_train_norm() -> None:
    with pytest.raises(ConfigError, match=r"the pattern '.*group' fits no layer"):
        algorithms(NetworkConfig(exclude=(r"\.group",)))


def test_dora_around_a_normalisation_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'algo = "norm" has no dora_wd .*model\.norm') as caught:
        algorithms(NetworkConfig(algo="norm", dora_wd=True))
    assert caught.value.where == "dora_wd"


def test_layers_with_normalisations_merge_and_come_back_from_their_file() -> None:
    model = Block().requires_grad_(False)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    network = build_network({"model": model}, NetworkConfig(train_norm=True, network_dim=2))
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    x = torch.randn(3, 6)
    again = load_network(network.adapter_state(dtype=None), {"model": model})
    with network.injected():
        wanted = model(x)
    with again.injected():
        torch.testing.assert_close(model(x), wanted)
    network.merge()
    torch.testing.assert_close(model(x), wanted, rtol=1e-4, atol=1e-5)
    network.unmerge()
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)


@pytest.mark.parametrize(
    ("key", "tensors", "message"),
    [
        ("lycoris_linear", {"w_norm": 6, "b_norm": 6}, "norm, the layer is no normalisation"),
        ("lycoris_norm", {"diff_b": 6, "diff": (6, 1)}, "full, the layer is a normalisation"),
        ("lycoris_norm", {"w_norm": 5, "b_norm": 5}, r"shape \(5,\), the layer needs \(6,\)"),
        ("lycoris_norm", {"b_norm": 6}, r"no algorithm stores the keys \['b_norm'\]"),
    ],
)
def test_norm_tensors_that_do_not_fit_their_layer_are_refused_by_name(
    key: str, tensors: dict[str, Any], message: str
) -> None:
    state = AdapterState({f"{key}.{name}": torch.ones(size) for name, size in tensors.items()})
    with pytest.raises(FormatError, match=message) as caught:
        load_network(state, {"model": Block()})
    assert caught.value.where == key


def test_a_normalisation_that_computes_in_float32_still_does_so_when_adapted() -> None:
    """The GroupNorm32 of ldm's U-Net is such a class."""

    class GroupNorm32(nn.GroupNorm):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.float()).to(x.dtype)

    module = nn.Sequential(GroupNorm32(2, 6)).requires_grad_(False)
    network = build_network({"model": module}, NetworkConfig(algo="norm"))
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 6, 5, 4)
    with network.injected():
        wanted = module(x)
        found = module(x.bfloat16())
    assert found.dtype == torch.bfloat16
    assert (found.float() - wanted).norm() < 0.02 * wanted.norm()
