"""Adding an update to a weight in place gives what adding its dense form gives."""

from __future__ import annotations

import pytest
import torch

from lycoris_ext.functional import Dense, Hadamard, LayerSpec, LowRank
from lycoris_ext.functional import merge as merging
from lycoris_ext.functional.delta import Delta

LINEAR = LayerSpec(7, 5)
CONV = LayerSpec(6, 4, (3, 3), (1, 1), (1, 1), (1, 1))
CONV1D = LayerSpec(6, 4, (3,), (1,), (1,), (1,))
FORMS = ("low rank", "hadamard", "wide hadamard", "dense", "row scale")
CASES = [
    *((layer, form) for layer in (LINEAR, CONV) for form in FORMS),
    *((layer, "core") for layer in (CONV, CONV1D)),  # a Linear has none
]


def low_rank(layer: LayerSpec, core: bool = False, rank: int = 2) -> LowRank:
    up = torch.randn(layer.out_features, rank)
    if core:
        down, middle = torch.randn(rank, layer.in_features), torch.randn(rank, rank, *layer.kernel)
        return LowRank(layer, 1.0, up, down, middle)
    return LowRank(layer, 1.0, up, torch.randn(rank, layer.in_features, *layer.kernel))


def deltas(layer: LayerSpec) -> dict[str, Delta]:
    found: dict[str, Delta] = {
        "low rank": low_rank(layer),
        "hadamard": Hadamard(layer, 1.0, low_rank(layer), low_rank(layer, rank=3)),
        "wide hadamard": Hadamard(layer, 1.0, low_rank(layer, rank=5), low_rank(layer, rank=4)),
        "dense": Dense(layer, 1.0, torch.randn(layer.weight_shape)),
        "row scale": low_rank(layer).scaled(torch.rand(layer.out_features)),
    }
    if layer.kernel:
        found["core"] = low_rank(layer, core=True)
    return {name: delta.scaled(0.3) for name, delta in found.items()}


@pytest.mark.parametrize("numbers", [1, 10, 1 << 17])  # row by row, some rows, all at once
@pytest.mark.parametrize(("layer", "form"), CASES)
def test_add_delta_adds_the_dense_update_in_every_form_and_dtype(
    monkeypatch: pytest.MonkeyPatch, layer: LayerSpec, form: str, numbers: int
) -> None:
    monkeypatch.setattr(merging, "_NUMBERS", numbers)
    torch.manual_seed(0)
    delta = deltas(layer)[form]
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        plain = torch.randn(layer.weight_shape).to(dtype)
        strided = plain.transpose(0, 1).contiguous().transpose(0, 1)
        for weight in (plain, strided):
            wanted = (weight.double() + delta.dense().double()).to(dtype)
            merging.add_delta(weight, delta)
            assert weight.dtype == dtype
            # One rounding in float32, one in the weight's own dtype.
            torch.testing.assert_close(
                weight, wanted, rtol=1.01 * torch.finfo(dtype).eps, atol=1e-6
            )
