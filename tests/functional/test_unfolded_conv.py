"""A convolution over few positions is computed as a matrix product, with the same result."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lycoris_ext.functional import LayerSpec, product, unfolded_conv

# Below and above the size from which the product goes through another library.
SMALL, LARGE = (80, 3), (640, 70)
GEOMETRIES = {
    "3x3": {"kernel": (3, 3), "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)},
    "1x1": {"kernel": (1, 1), "stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)},
    "halved": {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1), "dilation": (1, 1)},
    "uneven": {"kernel": (2, 3), "stride": (1, 2), "padding": (0, 1), "dilation": (1, 2)},
}


def layer(out: int, width: int, geometry: str = "3x3", groups: int = 1) -> LayerSpec:
    return LayerSpec(out, width // groups, groups=groups, **GEOMETRIES[geometry])


def close(found: Tensor | None, wanted: Tensor) -> None:
    assert found is not None
    torch.testing.assert_close(
        found.double(), wanted, rtol=1e-4, atol=1e-4 * float(wanted.detach().std())
    )


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Return the list of inputs that are unfolded during the test."""
    inputs: list[Tensor] = []
    unfold = F.unfold

    def seen(x: Tensor, *sides: tuple[int, ...]) -> Tensor:
        inputs.append(x)
        return unfold(x, *sides)

    monkeypatch.setattr(F, "unfold", seen)
    return inputs


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("batch", [1, 2])
def test_an_unfolded_convolution_is_that_of_float64(
    geometry: str, size: tuple[int, int], batch: int, taken: list[Tensor]
) -> None:
    spec = layer(*size, geometry)
    x = torch.randn(batch, spec.in_features, 2, 2 if geometry != "uneven" else 5)
    x.requires_grad_()
    weight, bias = torch.randn(spec.weight_shape), torch.randn(spec.out_features)
    exact_x = x.detach().double().requires_grad_()
    exact_weight = weight.double().requires_grad_()
    exact = F.conv2d(exact_x, exact_weight, bias.double(), spec.stride, spec.padding, spec.dilation)
    grad = torch.randn_like(exact)
    wanted_x, wanted_weight = torch.autograd.grad(exact, (exact_x, exact_weight), grad)

    out = spec.op(x, weight, bias)
    close(out, exact)
    # One position lies in memory as in either layout: what follows goes by the strides.
    assert out.stride() == torch.empty(out.shape).stride()
    close(torch.autograd.grad(out, x, grad.float(), retain_graph=True)[0], wanted_x)
    out.relu_()  # nobody else's memory
    learning = weight.clone().requires_grad_()
    (found,) = torch.autograd.grad(spec.op(x, learning), learning, grad.float())
    close(found, wanted_weight)
    with torch.no_grad():
        found_x, found = spec.op_backward(grad.float(), x, weight)
        assert spec.op_backward(grad.float(), x, weight, need_x=False)[0] is None
    close(found_x, wanted_x)
    close(found, wanted_weight)
    assert len(taken) == (4 if product.onednn_knows(x, weight) else 0)


@pytest.mark.parametrize(
    ("spec", "side"),
    [(layer(80, 4), 3), (layer(80, 4, groups=2), 2)],
    ids=["many positions", "groups"],
)
def test_convolutions_over_many_positions_or_in_groups_are_not_unfolded(
    spec: LayerSpec, side: int, taken: list[Tensor]
) -> None:
    x, weight = torch.randn(1, 4, side, side), torch.randn(spec.weight_shape)
    spec.op_backward(spec.op(x, weight), x, weight)
    assert not taken


def test_channels_last_tensors_are_not_unfolded(taken: list[Tensor]) -> None:
    spec, x = layer(80, 4), torch.randn(1, 4, 2, 2)
    weight = torch.randn(spec.weight_shape)
    spec.op(x.contiguous(memory_format=torch.channels_last), weight)
    spec.op(x, weight.contiguous(memory_format=torch.channels_last))
    assert not taken
    spec.op(x, weight)
    assert len(taken) == int(product.onednn_knows(x, weight))


def test_float64_and_autocast_are_not_unfolded() -> None:
    spec = layer(80, 4)
    x, weight = torch.randn(1, 4, 2, 2), torch.randn(spec.weight_shape)
    assert not unfolded_conv.applies(spec, x.double(), weight.double())
    with torch.autocast("cpu", torch.bfloat16):
        assert not unfolded_conv.applies(spec, x, weight)
        assert spec.op(x, weight).dtype == torch.bfloat16
