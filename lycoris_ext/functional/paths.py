"""The autograd functions behind ``Delta.apply`` and ``Delta.apply_merged``.

Both keep the leaves instead of what is built from them: the factors of a Khatri-Rao chain are
rank times larger than its leaves, and a merged weight is as large as the layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lycoris_ext.functional import thin_conv
from lycoris_ext.functional.layer import LayerSpec, mix_channels

if TYPE_CHECKING:
    from lycoris_ext.functional.delta import Delta


@dataclass(frozen=True)
class Chain:
    """Factors applied one after the other.

    Attributes:
        down: (R, in, *kernel), or (R, in) where there is a core.
        up: (out, R).
        core: (R, R, *kernel), first index towards up.
    """

    down: Tensor
    up: Tensor
    core: Tensor | None = None


def _down(x: Tensor, chain: Chain, layer: LayerSpec) -> Tensor:
    """First product of the chain: the spatial one where there is no core."""
    if chain.core is None:
        if thin_conv.applies(layer, x):
            return thin_conv.forward(layer, x, chain.down)
        return layer.op(x, chain.down)
    return mix_channels(x, chain.down, layer.is_conv)


def _down_backward(
    grad: Tensor, x: Tensor, chain: Chain, layer: LayerSpec, need_x: bool
) -> tuple[Tensor | None, Tensor]:
    """Gradients of ``_down`` to x (None where not needed) and to the factor."""
    if chain.core is not None:
        grad_x = mix_channels(grad, chain.down.T, layer.is_conv) if need_x else None
        return grad_x, _outer(grad, x, layer.is_conv)
    if thin_conv.applies(layer, x):
        return thin_conv.backward(layer, grad, x, chain.down, need_x)
    return layer.op_backward(grad, x, chain.down, need_x)


def _to(chain: Chain, dtype: torch.dtype) -> Chain:
    """The factors in the activations' dtype; they are built in their own, so nothing is lost."""
    core = None if chain.core is None else chain.core.to(dtype)
    return Chain(chain.down.to(dtype), chain.up.to(dtype), core)


def _outer(left: Tensor, right: Tensor, conv: bool) -> Tensor:
    """Sum over all positions of left_c x right_d: (c, d)."""
    if conv:
        return torch.bmm(left.flatten(2), right.flatten(2).transpose(1, 2)).sum(0)
    return left.flatten(0, -2).T @ right.flatten(0, -2)


class ChainApply(torch.autograd.Function):
    """base_out + scale * up(core(down(x))), saving x, the thin activations and the leaves only."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        base_out: Tensor | None,
        rows: Tensor | None,
        number: float,
        delta: Delta,
        *tensors: Tensor,
    ) -> Tensor:
        layer = delta.layer
        built = delta.chain(_scaled(tensors[0], rows, number), *tensors[1:])
        assert built is not None  # cheapest() never sends others here
        chain = _to(built, x.dtype)
        hidden = _down(x, chain, layer)
        thin = hidden if chain.core is None else layer.op(hidden, chain.core)
        if base_out is None:
            out = mix_channels(thin, chain.up, layer.is_conv)
        else:
            out = _add_mixed(base_out, thin, chain.up, layer.is_conv)
        ctx.save_for_backward(x, hidden, thin if chain.core is not None else None, rows, *tensors)
        ctx.number, ctx.delta, ctx.has_base = number, delta, base_out is not None
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, hidden, thin, rows, *tensors = ctx.saved_tensors
        delta: Delta = ctx.delta
        layer = delta.layer
        need_x, need_rows = ctx.needs_input_grad[0], ctx.needs_input_grad[2]
        leaves = (_scaled(tensors[0], rows, ctx.number), *tensors[1:])
        built = delta.chain(*leaves)
        assert built is not None
        chain = _to(built, x.dtype)
        thin = hidden if thin is None else thin
        grad_up = _outer(thin, grad, layer.is_conv).T  # (out, rank)
        grad_thin = mix_channels(grad, chain.up.T, layer.is_conv)
        grad_core = None
        if chain.core is not None:
            grad_hidden, grad_core = layer.op_backward(grad_thin, hidden, chain.core)
            assert grad_hidden is not None
            grad_thin = grad_hidden
        grad_x, grad_down = _down_backward(grad_thin, x, chain, layer, need_x)
        grads = _to(Chain(grad_down.reshape(built.down.shape), grad_up, grad_core), leaves[0].dtype)
        grad_first, *others = delta.unchain(leaves, grads)
        grad_rows = None
        if need_rows:
            grad_rows = (grad_first * tensors[0]).sum(1).to(rows.dtype)
            grad_rows = grad_rows if rows.ndim else grad_rows.sum()
        grad_first = _scaled(grad_first, rows, ctx.number)
        return grad_x, grad if ctx.has_base else None, grad_rows, None, None, grad_first, *others


def _scaled(up: Tensor, rows: Tensor | None, number: float) -> Tensor:
    """The first leaf, (out, rank), times the scale: the smallest tensor that carries all of it."""
    if rows is None:
        return up * number
    return up * (rows.unsqueeze(1) if rows.ndim else rows).to(up.dtype)


def _add_mixed(base_out: Tensor, thin: Tensor, up: Tensor, conv: bool) -> Tensor:
    """base_out + mix(thin, up) in one product instead of a product and a pass over the output."""
    if not conv:
        flat = torch.addmm(base_out.flatten(0, -2), thin.flatten(0, -2), up.T)
        return flat.view(base_out.shape)
    if not base_out.is_contiguous() or not thin.is_contiguous():  # channels_last keeps its layout
        return base_out + mix_channels(thin, up, conv)
    expanded = up.expand(base_out.shape[0], -1, -1)
    return torch.baddbmm(base_out.flatten(2), expanded, thin.flatten(2)).view(base_out.shape)


class MergedApply(torch.autograd.Function):
    """op(x, weight + scale * matrix); keeps x and the leaves, rebuilds the sum in the backward."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        scale: float,
        delta: Delta,
        *tensors: Tensor,
    ) -> Tensor:
        merged = torch.add(weight, delta.matrix(*tensors), alpha=scale)
        ctx.save_for_backward(x, weight, *tensors)
        ctx.scale, ctx.delta = scale, delta
        return delta.layer.op(x, merged, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *tensors = ctx.saved_tensors
        delta: Delta = ctx.delta
        merged = torch.add(weight, delta.matrix(*tensors), alpha=ctx.scale)
        need_x = ctx.needs_input_grad[0]
        grad_x, grad_weight = delta.layer.op_backward(grad, x, merged, need_x)
        grads = delta.unmatrix(tuple(tensors), grad_weight.reshape(weight.shape) * ctx.scale)
        grad_bias = None
        if ctx.needs_input_grad[2]:
            channel = 1 if delta.layer.is_conv else grad.ndim - 1
            grad_bias = grad.sum([axis for axis in range(grad.ndim) if axis != channel])
        return grad_x, None, grad_bias, None, None, *grads
