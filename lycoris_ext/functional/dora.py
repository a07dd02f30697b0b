"""DoRA: the direction of W + d learned apart from its length, over any other update d.

    W' = c (W + d),  c = g / ||W + d||      so  delta = (c - 1) W + c d

with one trained length g (the "magnitude") for each output channel, or for each input channel. No
gradient flows through the norm, as in the paper (section 4.3). It is computed from d's factors, or
from some rows of W + d at a time that fit the cache, so that no (out, in) matrix is built if d is a
low-rank product. Derivation: docs/algorithms/dora.md.

Source: DoRA, Liu et al. 2024, arXiv:2402.09353; on the input axis LyCORIS 2.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeGuard

import torch
from torch import Tensor

from lycoris_ext.functional import product
from lycoris_ext.functional.autocast import without_autocast
from lycoris_ext.functional.chained import Chained
from lycoris_ext.functional.delta import Delta, sum_of
from lycoris_ext.functional.frozen_layer import FrozenLayer

# How many numbers of W + d are built at a time, so that they stay in a processor's cache.
_NUMBERS = 1 << 18
# Up to this rank of a Hadamard product's Khatri-Rao factors, products of W with them cost less than
# building W + d (measured on a CPU, for each number of W: 0.4 to 0.6 ns at 16, about 1.1 at 64,
# against 1.3).
_CHAIN_RANK = 80
# If ||W + d||^2 is below this share of ||W||^2, computing it as a sum of products has lost digits.
_CANCELLED = 0.1


@dataclass(frozen=True)
class Dora(Delta):
    """The update that DoRA makes of another update d: scale * ((c - 1) W + c d).

    Attributes:
        base: the frozen layer, which has W.
        inner: d.
        magnitude: g, the trained length of each channel: (out,), or (in,) if ``on_input``.
        on_input: whether input channels have the lengths, instead of output channels.
    """

    base: FrozenLayer
    inner: Delta
    magnitude: Annotated[Tensor, "channels"]
    on_input: bool

    def share(self) -> Annotated[Tensor, "channels"]:
        """Return c = g / ||W + d||, shaped like ``magnitude``, in float32 or float64.

        Costs about as much as reading the weight once.
        """
        weight = self.base.weight
        with without_autocast(weight.device.type):  # bf16 would blur the lengths
            norms = weight_norms(weight, self.on_input, self.inner)
        return self.magnitude.to(norms.dtype) / (norms + torch.finfo(norms.dtype).eps)

    def dense(self) -> Tensor:
        weight = _precise(self.base.weight)
        axis = 1 if self.on_input else 0
        shape = [1] * weight.ndim
        shape[axis] = -1
        share = self.share().reshape(shape)
        update = (share - 1) * weight + share * self.inner.dense()
        return update * self._row_scale(update.ndim - 1)

    def bias(self) -> Tensor | None:
        bias = self.inner.bias()
        return None if bias is None else bias * self.scale

    def thin_cost(self) -> int | None:
        return self.inner.thin_cost()

    def build_cost(self) -> int:
        return self.inner.build_cost() + 1

    def cheapest(self, tokens: int, can_merge: bool) -> str:
        if self.layer.groups != 1:
            return super().cheapest(tokens, can_merge)
        if can_merge:
            return "merged"  # apply_merged() then takes d's own cheapest path
        return "chain" if self.inner.cheapest(tokens, can_merge=False) == "chain" else "dense"

    def apply_thin(self, x: Tensor, base_out: Tensor | None) -> Tensor:
        share = self.share()
        if self.on_input:
            update = self.base.op(x * self._over(share - 1, x.dtype))
            out = sum_of([base_out, update * self._over_positions(x.dtype)])
            assert out is not None
            inner = self.inner.scaled(self.scale)
            return inner.apply_thin(x * self._over(share, x.dtype), out)
        without_bias = self.base.output_without_bias(x)
        update = without_bias * self._over((share - 1) * self.scale, without_bias.dtype)
        out = update if base_out is None else base_out + update
        return self.inner.scaled(share * self.scale).apply_thin(x, out)

    def apply_merged(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return op(x, weight + delta, bias).

        If possible c is multiplied into the input or the output, so that an (out, in) matrix is
        built only if d's own cheapest path builds one.
        """
        layer, tokens = self.layer, self.layer.tokens(x)
        if layer.groups != 1 or (self.on_input and self._has_row_scale()):
            return super().apply_merged(x, weight, bias)
        path = self.inner.cheapest(tokens, can_merge=True)
        if path == "merged" and not torch.is_tensor(self.scale) and self.scale == 1.0:
            if self.on_input:
                read = x * self._over(self.share(), x.dtype)
                return self.inner.apply_merged(read, weight, bias)
            out = self.inner.apply_merged(x, weight, None) * self._over(self.share(), x.dtype)
            return out if bias is None else out + layer.over_positions(bias)
        if path != "chain":
            return super().apply_merged(x, weight, bias)
        share = self.share()
        lengths = self._over(1 + (share - 1) * self.scale, x.dtype)
        if self.on_input:
            read = x * self._over(share, x.dtype)
            out = layer.op(read if self.scale == 1.0 else x * lengths, weight, bias)
            return self.inner.scaled(self.scale).apply_thin(read, out)
        out = layer.op(x, weight) * lengths
        if bias is not None:
            out = out + layer.over_positions(bias)
        return self.inner.scaled(share * self.scale).apply_thin(x, out)

    def _over(self, channels: Tensor, dtype: torch.dtype) -> Tensor:
        return self.layer.over_positions(channels).to(dtype)


@torch.no_grad()
def weight_norms(
    weight: Annotated[Tensor, "out in *kernel"], on_input: bool, update: Delta | None = None
) -> Annotated[Tensor, "channels"]:
    """Compute ||W + d|| of each channel, without a gradient.

    Args:
        weight: W, (out, in, *kernel).
        on_input: one norm per input channel instead of one per output channel.
        update: d; None for the norms of W alone.

    Returns:
        (in,) if ``on_input``, else (out,); in the weight's dtype, but at least float32.
    """
    if _factors_are_cheaper(update, weight):
        own = _squares(weight, on_input)
        squares = own + _growth(weight, on_input, update)
        if not bool((squares < _CANCELLED * own).any()):
            return squares.sqrt()
    return _squares(weight, on_input, update).sqrt()


def _factors_are_cheaper(update: Delta | None, weight: Tensor) -> TypeGuard[Chained]:
    """Return True if computing the norms from d's factors is cheaper than building W + d.

    True for low-rank products. A Hadamard product is built from its two products, whose ranks add;
    as thin factors it has the product of both ranks, so it is cheaper only while they are small.
    """
    return (
        isinstance(update, Chained)
        and not update.has_core()
        and update.chain_rank() <= max(_CHAIN_RANK, update.build_cost())
        and weight.dtype in (torch.float32, torch.float64)
        and weight.device.type == "cpu"  # a branch on numbers waits for any other device
        and not torch.compiler.is_compiling()
    )


def _growth(weight: Tensor, on_input: bool, update: Chained) -> Tensor:
    """Compute ||W + d||^2 - ||W||^2 = <2 W + d, d> of each channel from the factors of d.

    d is up^T down with up (R, out) and down (R, in * area).
    """
    first, *others = (leaf.to(weight.dtype) for leaf in update.tensors())
    scale = torch.as_tensor(update.scale, dtype=weight.dtype).view(-1, 1)
    chain = update.chain(*update.transposed(first * scale, *others))
    up, down, flat = chain.up, chain.down.flatten(1), weight.flatten(1)
    if on_input:
        kept, summed, read = down, up, product.mm(up, flat)
    else:
        kept, summed, read = up, down, product.mm(flat, down.T).T
    growth = product.mm(product.mm(summed, summed.T), kept).add_(read, alpha=2.0).mul_(kept)
    return growth.sum(0).view(weight.shape[int(on_input)], -1).sum(1)


def _squares(weight: Tensor, on_input: bool, update: Delta | None = None) -> Tensor:
    """Compute ||W + d||^2 of each channel, building some rows of W + d at a time."""
    out_features, fan_in = len(weight), weight[0].numel()
    whole = update is not None and update.rows(slice(0, 1)) is None
    numbers = _NUMBERS if update is None else _NUMBERS // 2  # d's rows need room in the cache, too
    step = out_features if whole else min(out_features, max(1, numbers // fan_in))
    by_row, by_column = [], None
    for start in range(0, out_features, step):
        rows = slice(start, start + step)
        part = _precise(weight[rows])
        if update is not None:
            piece = update if whole else update.rows(rows)
            assert piece is not None
            part = piece.merged(part)
        part = part.flatten(1)
        if not on_input:
            by_row.append(torch.linalg.vector_norm(part, dim=1).square())
        elif by_column is None:  # a norm over the first axis is read column by column: slow
            by_column = part.square()
        else:
            by_column[: len(part)].addcmul_(part, part)
    if by_column is not None:
        return by_column.sum(0).view(weight.shape[1], -1).sum(1)
    return torch.cat(by_row)


def _precise(weight: Tensor) -> Tensor:
    """Cast to float32 if the dtype is smaller."""
    return weight.to(torch.promote_types(weight.dtype, torch.float32))
