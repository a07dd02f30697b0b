"""Updates that are chains of thin factors, up x (core x) down, and their autograd function.

The backward pass keeps the trained tensors instead of the factors built from them: those of a
Khatri-Rao chain are rank times larger.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from lycoris_ext.functional import product, thin_conv
from lycoris_ext.functional.delta import Recomputed
from lycoris_ext.functional.layer import mix_channels


@dataclass(frozen=True)
class Chain:
    """Factors applied one after the other.

    Attributes:
        down: (R, in, *kernel), or (R, in) where there is a core.
        up: (R, out).
        core: (R, R, *kernel), first index towards up.
    """

    down: Annotated[Tensor, "R ..."]
    up: Annotated[Tensor, "R out"]
    core: Annotated[Tensor, "R R ..."] | None = None


class Chained(Recomputed):
    """An update that is a chain of thin factors: up x (core x) down."""

    @abstractmethod
    def transposed(self, *leaves: Tensor) -> tuple[Tensor, ...]:
        """The leaves as ``chain`` and ``unchain`` take them, (rank, out) for (out, rank); and the
        gradients of those back again. The first leaf is (out, rank), and the update is linear in
        it."""

    @abstractmethod
    def chain(self, *leaves: Tensor) -> Chain:
        """The factors."""

    @abstractmethod
    def unchain(self, leaves: tuple[Tensor, ...], grads: Chain) -> tuple[Tensor, ...]:
        """Gradients of the transposed leaves from the gradients of the chain's factors."""

    @abstractmethod
    def chain_rank(self) -> int:
        """Inner width of the chain, without building it."""

    @abstractmethod
    def has_core(self) -> bool:
        """True where a core stands between down and up (Tucker)."""

    def thin_cost(self) -> int:
        rank, layer = self.chain_rank(), self.layer
        if self.has_core():
            area = layer.fan_in // layer.in_features
            return rank * (layer.in_features + layer.out_features + rank * area)
        return rank * (layer.fan_in + layer.out_features)

    def apply_thin(self, x: Tensor, base_out: Tensor | None) -> Tensor:
        number, rows = (1.0, self.scale) if torch.is_tensor(self.scale) else (self.scale, None)
        arguments = (x, base_out, rows, number, self, *self.tensors())
        out: Tensor = ChainApply.apply(*arguments)
        return out


class ChainApply(torch.autograd.Function):
    """base_out + up(core(down(x))) * number, saving x, the thin activations and the leaves only."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        base_out: Tensor | None,
        rows: Tensor | None,
        number: float,
        delta: Chained,
        *tensors: Tensor,
    ) -> Tensor:
        layer = delta.layer
        flat = not delta.has_core() and thin_conv.applies(layer, x)
        leaves = _leaves(delta, tensors, rows, flat)
        chain = _to(delta.chain(*leaves), x.dtype)
        hidden = None
        if flat:
            thin = thin_conv.forward(layer, x, chain.down)
        elif chain.core is None:
            thin = layer.op(x, chain.down)
        else:
            hidden = mix_channels(x, chain.down, layer.is_conv)
            thin = layer.op(hidden, chain.core)
        if number != 1.0:
            thin = thin * number
        if base_out is None:
            out = mix_channels(thin, chain.up.T, layer.is_conv)
        else:
            out = _add_mixed(base_out, thin, chain.up.T, layer.is_conv)
        ctx.save_for_backward(x, hidden, thin, rows, *tensors)
        ctx.number, ctx.delta, ctx.flat, ctx.has_base = number, delta, flat, base_out is not None
        return product.no_view(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, hidden, thin, rows, *tensors = ctx.saved_tensors
        delta: Chained = ctx.delta
        leaves = _leaves(delta, tensors, rows, ctx.flat)
        layer = delta.layer
        need_x, need_rows = ctx.needs_input_grad[0], ctx.needs_input_grad[2]
        chain = _to(delta.chain(*leaves), x.dtype)
        grad_up = _outer(thin, grad, layer.is_conv)
        grad_thin = mix_channels(grad, chain.up, layer.is_conv)
        if ctx.number != 1.0:
            grad_thin = grad_thin * ctx.number
        grad_core = None
        if ctx.flat:
            grad_x, grad_down = thin_conv.backward(layer, grad_thin, x, chain.down, need_x)
        elif chain.core is None:
            grad_x, grad_down = layer.op_backward(grad_thin, x, chain.down, need_x)
        else:
            grad_hidden, grad_core = layer.op_backward(grad_thin, hidden, chain.core)
            assert grad_hidden is not None  # asked for
            grad_x = mix_channels(grad_hidden, chain.down.T, layer.is_conv) if need_x else None
            grad_down = _outer(grad_hidden, x, layer.is_conv)
        grads = _to(Chain(grad_down, grad_up, grad_core), leaves[0].dtype)
        grad_first, *others = delta.transposed(*delta.unchain(leaves, grads))
        if ctx.flat:
            others = [
                grad if grad.shape == tensor.shape else thin_conv.unflattened(grad, layer)
                for grad, tensor in zip(others, tensors[1:], strict=True)
            ]
        grad_rows = None
        if need_rows:
            grad_rows = (grad_first * tensors[0]).sum(1).to(rows.dtype)
            grad_rows = grad_rows if rows.ndim else grad_rows.sum()
        if rows is not None:
            grad_first = _scaled(grad_first, rows)
        return grad_x, grad if ctx.has_base else None, grad_rows, None, None, grad_first, *others


def _leaves(
    delta: Chained, tensors: Sequence[Tensor], rows: Tensor | None, flat: bool
) -> tuple[Tensor, ...]:
    """What ``chain`` and ``unchain`` are given: the row scale on the first leaf, the smallest
    tensor that carries all of it, and everything in the memory order that they read fastest."""
    first, *others = tensors
    if rows is not None:
        first = _scaled(first, rows)
    if flat:
        others = [thin_conv.flattened(leaf) if leaf.ndim > 2 else leaf for leaf in others]
    return delta.transposed(first, *others)


def _scaled(up: Tensor, rows: Tensor) -> Tensor:
    """(out, rank) times a scale of shape () or (out,)."""
    return up * (rows.unsqueeze(1) if rows.ndim else rows).to(up.dtype)


def _to(chain: Chain, dtype: torch.dtype) -> Chain:
    """The factors in the activations' dtype; they are built in their own, so nothing is lost."""
    if chain.up.dtype == dtype:
        return chain
    core = None if chain.core is None else chain.core.to(dtype)
    return Chain(chain.down.to(dtype), chain.up.to(dtype), core)


def _outer(left: Tensor, right: Tensor, conv: bool) -> Tensor:
    """Sum over all positions of left_c x right_d: (c, d)."""
    if conv:
        return product.outer(left.flatten(2), right.flatten(2))
    return product.mm(left.flatten(0, -2).T, right.flatten(0, -2))


def _add_mixed(base_out: Tensor, thin: Tensor, up: Tensor, conv: bool) -> Tensor:
    """base_out + mix(thin, up) in one product instead of a product and a pass over the output."""
    if not conv:
        flat = product.addmm(base_out.flatten(0, -2), thin.flatten(0, -2), up.T)
        return flat.view(base_out.shape)
    if not base_out.is_contiguous() or not thin.is_contiguous():  # channels_last keeps its layout
        return base_out + mix_channels(thin, up, conv)
    return product.add_mixed(base_out.flatten(2), up, thin.flatten(2)).view(base_out.shape)
