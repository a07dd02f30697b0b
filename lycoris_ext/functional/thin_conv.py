"""Convolutions with few output channels on a CPU, computed without unfolding the input.

The usual way is to unfold the input, in * area numbers per position, and to multiply it by the
weight. If only a few channels come out it is cheaper to multiply first, and then to shift and add
the few results:

    z = A x                  A (rank * area, in), one column of x per input position
    h = fold(z)              rank channels, each the sum of its area shifted planes

Both gradients need only the gradient of h to be unfolded, which has few channels, too. On SD1.5's
U-Net this halves the cost of a convolution's adapter.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from lycoris_ext.functional import product
from lycoris_ext.functional.layer import LayerSpec


def applies(layer: LayerSpec, x: Tensor) -> bool:
    """Return True if this is the fastest way to convolve x; never on a GPU."""
    return fits(layer, x.device) and x.dtype in (torch.float32, torch.float64) and x.is_contiguous()


def fits(layer: LayerSpec, device: torch.device) -> bool:
    """Return True if ``applies`` may be true for some input of this layer on this device."""
    return (
        len(layer.kernel) == 2
        and layer.stride == (1, 1)
        and layer.groups == 1
        and all(pad >= 0 for pad in _outer_padding(layer))
        and device.type == "cpu"
    )


def flattened(leaf: Annotated[Tensor, "rank in kh kw"]) -> Annotated[Tensor, "rank flat"]:
    """Reorder (rank, in, kh, kw) to (rank, kh * kw * in), the input channels innermost.

    ``forward`` and ``backward`` read the weight in this order. The trained tensors are reordered
    and not the factors computed from them, which are larger.
    """
    return leaf.permute(0, 2, 3, 1).flatten(1)


def unflattened(
    grad: Annotated[Tensor, "rank flat"], layer: LayerSpec
) -> Annotated[Tensor, "rank in kh kw"]:
    """Undo ``flattened``, for the gradient of a trained tensor."""
    return grad.view(len(grad), *layer.kernel, layer.in_features).permute(0, 3, 1, 2)


def forward(
    layer: LayerSpec, x: Annotated[Tensor, "batch in h w"], down: Annotated[Tensor, "rank flat"]
) -> Annotated[Tensor, "batch rank h2 w2"]:
    """Convolve x with a flattened weight, with the layer's padding and dilation.

    Args:
        layer: the geometry of the convolution.
        x: (batch, in, H, W).
        down: (rank, kh * kw * in), see ``flattened``.

    Returns:
        (batch, rank, H', W'), as ``layer.op`` returns it for the weight before flattening.
    """
    weight = down.view(-1, layer.in_features)
    planes = product.mix(weight, x.flatten(2))  # (batch, rank * area, H * W)
    if _is_pointwise(layer):
        return planes.view(len(x), -1, *x.shape[2:])
    planes = _mirror(planes, layer)
    size = tuple(
        side + 2 * pad - dilation * (kernel - 1)
        for side, pad, dilation, kernel in zip(
            x.shape[2:], layer.padding, layer.dilation, layer.kernel, strict=True
        )
    )
    return F.fold(planes, size, layer.kernel, layer.dilation, _outer_padding(layer))


def backward(
    layer: LayerSpec,
    grad: Annotated[Tensor, "batch rank h2 w2"],
    x: Annotated[Tensor, "batch in h w"],
    down: Annotated[Tensor, "rank flat"],
    need_x: bool,
) -> tuple[Annotated[Tensor, "batch in h w"] | None, Annotated[Tensor, "rank flat"]]:
    """Turn the gradient of ``forward`` into those of x (None unless ``need_x``) and of ``down``.

    The latter is flattened like ``down``.
    """
    if _is_pointwise(layer):
        planes = grad.flatten(2)
    else:
        planes = F.unfold(grad, layer.kernel, layer.dilation, _outer_padding(layer))
        planes = _mirror(planes, layer)
    grad_down = product.outer(planes, x.flatten(2))  # (rank * area, in)
    grad_x = None
    if need_x:
        grad_x = product.mix(down.view(-1, layer.in_features).T, planes).view(x.shape)
    return grad_x, grad_down.view(down.shape)


def _is_pointwise(layer: LayerSpec) -> bool:
    return not layer.is_spatial and not any(layer.padding)


def _mirror(planes: Tensor, layer: LayerSpec) -> Tensor:
    """Reverse the kernel's axes: fold scatters where a convolution gathers. Of all the tensors that
    could be reversed instead, these are the smallest."""
    mirrored: Tensor = planes.unflatten(1, (-1, *layer.kernel)).flip(2, 3).flatten(1, 3)
    return mirrored


def _outer_padding(layer: LayerSpec) -> tuple[int, ...]:
    """Return the padding of the transposed convolution."""
    return tuple(
        dilation * (kernel - 1) - pad
        for dilation, kernel, pad in zip(layer.dilation, layer.kernel, layer.padding, strict=True)
    )
