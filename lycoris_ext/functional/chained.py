"""Updates that are a product of thin factors, up x (core x) down, and their autograd function.

Autograd would keep those factors for the backward pass. Here the trained tensors are kept and the
factors computed from them again, because the factors of a Hadamard product are rank times larger.
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
    """The thin factors of an update: an input passes through down, core and up in this order.

    Attributes:
        down: (R, in, *kernel), or (R, in) if there is a core.
        up: (R, out), the transpose of the usual (out, R).
        core: (R, R, *kernel) of a Tucker decomposition; its first index meets ``up``.
    """

    down: Annotated[Tensor, "R ..."]
    up: Annotated[Tensor, "R out"]
    core: Annotated[Tensor, "R R ..."] | None = None


class Chained(Recomputed):
    """An update that is a product of thin factors, up x (core x) down.

    In this class "leaves" are the trained tensors, in the order of ``tensors()``.
    """

    @abstractmethod
    def transposed(self, *leaves: Tensor) -> tuple[Tensor, ...]:
        """Transpose every up factor, (out, rank) to (rank, out), and pass the others through.

        ``chain`` and ``unchain`` take their tensors in this form. Applied to gradients in that form
        it undoes itself. The first leaf must be an up factor in which the update is linear, because
        the scale is multiplied into it.
        """

    @abstractmethod
    def chain(self, *leaves: Tensor) -> Chain:
        """Compute the thin factors of the unscaled update from the transposed leaves."""

    @abstractmethod
    def unchain(self, leaves: tuple[Tensor, ...], grads: Chain) -> tuple[Tensor, ...]:
        """Turn gradients of the thin factors into gradients of the transposed leaves."""

    @abstractmethod
    def chain_rank(self) -> int:
        """Return R, the inner width of the thin factors, without computing them."""

    @abstractmethod
    def has_core(self) -> bool:
        """Return True if the update has a Tucker core between down and up."""

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
    """base_out + up(core(down(x))) * number.

    Keeps x, the thin activations and the trained tensors for the backward pass, and computes the
    factors again there. ``rows`` is a scale of shape () or (out,) that is multiplied into the first
    tensor; None if ``number`` is the whole scale.
    """

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
    """Prepare the trained tensors for ``chain`` and ``unchain``.

    A row scale is multiplied into the first one, the smallest that can carry all of it; all are
    brought into the memory order that is read fastest. ``flat``: kernels are flattened for
    ``thin_conv``.
    """
    first, *others = tensors
    if rows is not None:
        first = _scaled(first, rows)
    if flat:
        others = [thin_conv.flattened(leaf) if leaf.ndim > 2 else leaf for leaf in others]
    return delta.transposed(first, *others)


def _scaled(up: Tensor, rows: Tensor) -> Tensor:
    """Multiply an (out, rank) factor by a scale of shape () or (out,)."""
    return up * (rows.unsqueeze(1) if rows.ndim else rows).to(up.dtype)


def _to(chain: Chain, dtype: torch.dtype) -> Chain:
    """Cast the factors to the activations' dtype, after they were computed in their own."""
    if chain.up.dtype == dtype:
        return chain
    core = None if chain.core is None else chain.core.to(dtype)
    return Chain(chain.down.to(dtype), chain.up.to(dtype), core)


def _outer(left: Tensor, right: Tensor, conv: bool) -> Tensor:
    """Return the (c, d) sum of left_c * right_d over batch and positions."""
    if conv:
        return product.outer(left.flatten(2), right.flatten(2))
    return product.mm(left.flatten(0, -2).T, right.flatten(0, -2))


def _add_mixed(base_out: Tensor, thin: Tensor, up: Tensor, conv: bool) -> Tensor:
    """Return base_out + up applied to thin, as one product without another pass over the output."""
    if not conv:
        flat = product.addmm(base_out.flatten(0, -2), thin.flatten(0, -2), up.T)
        return flat.view(base_out.shape)
    if not base_out.is_contiguous() or not thin.is_contiguous():  # channels_last keeps its layout
        return base_out + mix_channels(thin, up, conv)
    return product.add_mixed(base_out.flatten(2), up, thin.flatten(2)).view(base_out.shape)
