"""Updates that are a map of the frozen layer's input or output channels (OFT, IA3, GLoRA)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lycoris_ext.functional import (
    BlockRotation,
    ChannelMap,
    Delta,
    Diagonal,
    FrozenLayer,
    InputMap,
    LayerSpec,
    LowRank,
    OutputMap,
    Sum,
    Thin,
    cayley,
)


class Packed(nn.Linear):
    """A Linear with a quantised weight that only its own forward can read."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features)
        self.kept = linear.weight.detach()
        self.weight = nn.Parameter(torch.zeros(3, dtype=torch.uint8), requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.kept, self.bias)


MAPS = {
    "diagonal": Diagonal(torch.linspace(-0.3, 0.4, 8)),
    "thin": Thin(torch.randn(8, 2), torch.randn(2, 8)),
    "blocks": BlockRotation(cayley(torch.randn(2, 4, 4))),
}


@pytest.mark.parametrize("mapping", MAPS.values(), ids=MAPS)
def test_every_method_of_a_channel_map_applies_the_same_matrix(mapping: ChannelMap) -> None:
    matrix = mapping.planes(torch.eye(8))
    y = torch.randn(2, 5, 8)
    torch.testing.assert_close(mapping.shift(y), y @ matrix.T)
    torch.testing.assert_close(mapping.pull(y), y @ matrix)
    torch.testing.assert_close(mapping.planes(y.mT), matrix @ y.mT)


@pytest.mark.parametrize("mapping", MAPS.values(), ids=MAPS)
@pytest.mark.parametrize("side", [OutputMap, InputMap])
def test_maps_over_a_quantised_layer_never_read_its_weight(mapping: ChannelMap, side: type) -> None:
    linear = nn.Linear(8, 8)
    packed, layer, x = Packed(linear), LayerSpec(8, 8), torch.randn(5, 8)

    def update(module: nn.Linear) -> Delta:
        mapped = side(layer, 0.7, FrozenLayer.of(module, layer), mapping)
        beside = LowRank(layer, 1.0, torch.ones(8, 8), torch.ones(8, 8))
        return Sum(layer, 1.0, (mapped, beside))

    for delta in (update(packed), update(packed).terms[0]):  # type: ignore[attr-defined]
        assert delta.cheapest(10**6, can_merge=False) == "chain"
    assert update(linear).cheapest(10**6, can_merge=False) == "dense"
    torch.testing.assert_close(
        update(packed).apply(x, None, "chain"), x @ update(linear).dense().T, rtol=1e-4, atol=1e-4
    )
