"""A LayerSpec computes what the module computes, and chooses the cheaper path."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lycoris_ext.errors import ShapeError
from lycoris_ext.functional import Hadamard, LayerSpec, LowRank

LAYERS = [
    (nn.Linear(5, 3), (2, 4, 5)),
    (nn.Conv1d(4, 6, 5, stride=2, padding=3, dilation=2), (2, 4, 17)),
    (nn.Conv2d(4, 6, (3, 5), stride=(2, 1), padding=(1, 2), groups=2), (2, 4, 9, 8)),
    (nn.Conv2d(4, 6, 3, padding="same", dilation=2), (2, 4, 9, 8)),
    (nn.Conv2d(4, 6, 4, padding="same"), (2, 4, 9, 8)),
    (nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (2, 4, 9, 8)),
    (nn.Conv3d(2, 3, 3, padding=1), (1, 2, 4, 5, 6)),
]


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
@pytest.mark.parametrize(("module", "shape"), LAYERS)
def test_a_layer_spec_computes_what_the_module_computes(
    module: nn.Module, shape: tuple[int, ...]
) -> None:
    module, x = module.double(), torch.randn(shape).double().requires_grad_()
    spec = LayerSpec.from_module(module)
    assert spec.weight_shape == tuple(module.weight.shape)
    padded = spec.pad(x)
    found, wanted = spec.op(padded, module.weight, module.bias), module(x)
    torch.testing.assert_close(found, wanted)
    positions = wanted.numel() // spec.out_features
    assert spec.tokens(padded) == positions
    grad = torch.randn_like(wanted)
    grads = spec.op_backward(grad, padded, module.weight)
    for mine, theirs in zip(
        grads, torch.autograd.grad(found, (padded, module.weight), grad), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


def test_modules_that_are_neither_linear_nor_conv_are_refused() -> None:
    with pytest.raises(ShapeError, match="LayerNorm is neither Linear nor Conv"):
        LayerSpec.from_module(nn.LayerNorm(3))
    assert not LayerSpec.supports(nn.ConvTranspose2d(2, 2, 2))


def hadamard(out: int, width: int, rank: int) -> Hadamard:
    layer = LayerSpec(out, width)
    sides = [
        LowRank(layer, 1.0, torch.zeros(out, rank), torch.zeros(rank, width)) for _ in range(2)
    ]
    return Hadamard(layer, 1.0, *sides)


@pytest.mark.parametrize(
    ("channels", "tokens", "rank", "path"),
    [
        (1280, 64, 8, "chain"),  # a small rank never pays for a dense matrix
        (1280, 256, 16, "chain"),
        (320, 4096, 16, "merged"),  # rank 256 beside 320 channels is no longer thin
        (640, 4096, 24, "merged"),
    ],
)
def test_the_cheaper_path_is_taken(channels: int, tokens: int, rank: int, path: str) -> None:
    delta = hadamard(channels, channels, rank)
    assert delta.cheapest(tokens, can_merge=True) == path
    # without a float32 base the dense detour is three times as dear
    expected = "chain" if path == "chain" else "dense"
    assert delta.cheapest(tokens, can_merge=False) in (expected, "chain")
