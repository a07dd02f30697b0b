"""Convolutions over few positions on a CPU, as one product with the unfolded input.

oneDNN's convolutions copy the whole weight into another order before they begin, forward and
backward. For few positions that is most of their time, and it takes as much memory as the weight.
Unfolding the input takes in * area numbers for each position instead, and the product reads the
weight in place.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from lycoris_ext.functional import product
from lycoris_ext.functional.geometry import Geometry

# From this number of output channels for each position it is the faster way. Measured with SD1.5's
# shapes: 1280 channels take 0.15 of a convolution's time at 4 positions, 0.7 of it at 64.
_CHANNELS = 10


def applies(layer: Geometry, x: Tensor, weight: Tensor) -> bool:
    """Return True if ``forward`` is faster than torch's convolution."""
    return (
        len(layer.kernel) == 2
        and layer.groups == 1
        and x.shape[1] == layer.in_features  # otherwise torch raises its own error
        and x.is_contiguous()
        and weight.is_contiguous()
        and layer.tokens(x) * _CHANNELS <= len(weight)
        and product.onednn_knows(x, weight)
    )


def forward(
    layer: Geometry,
    x: Annotated[Tensor, "batch in h w"],
    weight: Annotated[Tensor, "any in kh kw"],
    bias: Annotated[Tensor, "any"] | None,
) -> Annotated[Tensor, "batch any h2 w2"]:
    """Compute the layer's convolution: (batch, in, H, W) -> (batch, out, H', W').

    Args:
        weight: (out, in, kh, kw) with any number of output channels.
        bias: (out,), or None.
    """
    rows = product.linear(_unfolded(layer, x), weight.flatten(1), bias)
    out: Tensor = rows.transpose(1, 2).unflatten(2, layer.positions(x))
    # The strides of a convolution's output: a view would turn all that follows channels_last.
    return out.clone(memory_format=torch.contiguous_format)


def backward(
    layer: Geometry,
    grad: Annotated[Tensor, "batch any h2 w2"],
    x: Annotated[Tensor, "batch in h w"],
    weight: Annotated[Tensor, "any in kh kw"],
    need_x: bool,
) -> tuple[Annotated[Tensor, "batch in h w"] | None, Annotated[Tensor, "any in kh kw"]]:
    """Turn the gradient of ``forward`` into the gradients of x and of the weight.

    That of x is None unless ``need_x``.
    """
    rows = grad.flatten(2).transpose(1, 2)  # (batch, H' * W', out)
    columns = _unfolded(layer, x)
    grad_weight = product.mm(rows.flatten(0, 1).T, columns.flatten(0, 1)).view(weight.shape)
    if not need_x:
        return None, grad_weight
    columns = product.linear(rows, weight.flatten(1).T).transpose(1, 2)
    sides = layer.dilation, layer.padding, layer.stride
    return F.fold(columns, x.shape[2:], layer.kernel, *sides), grad_weight


def _unfolded(layer: Geometry, x: Tensor) -> Tensor:
    """Unfold x to (batch, H' * W', in * area), in the order of the weight's numbers."""
    sides = layer.dilation, layer.padding, layer.stride
    return F.unfold(x, layer.kernel, *sides).transpose(1, 2)
