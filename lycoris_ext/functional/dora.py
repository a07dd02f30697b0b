"""DoRA: the direction of W + d learned apart from its length, over any other update d.

    W' = c (W + d),  c = g / ||W + d||      so  delta = (c - 1) W + c d

with one length g per output channel, or per input channel. The norm is a constant to the gradient,
as in the paper (section 4.3); it comes from d's factors, or is summed from rows of W + d that fit
the cache, so no (out, in) matrix is built where d has a thin form. Derivation:
docs/algorithms/dora.md.

Source: DoRA, Liu et al. 2024, arXiv:2402.09353; on the input axis LyCORIS 2.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeGuard

import torch
from torch import Tensor

from lycoris_ext.functional import product
from lycoris_ext.functional.chained import Chained
from lycoris_ext.functional.delta import Delta, sum_of
from lycoris_ext.functional.frozen_layer import FrozenLayer

# Numbers of W + d that are built at a time: they stay in a processor's cache.
_NUMBERS = 1 << 18
# Up to this rank a product of W with a Hadamard product's Khatri-Rao factors costs less than its
# numbers (measured on a CPU: 0.4 to 0.6 ns a number of W at 16, about 1.1 at 64, against 1.3).
_CHAIN_RANK = 80
# Where less than this share of ||W||^2 is left, the sum of products has lost digits.
_CANCELLED = 0.1


@dataclass(frozen=True)
class Dora(Delta):
    """delta = (c - 1) W + c d; all of it times ``scale``.

    Attributes:
        base: the layer.
        inner: d.
        magnitude: g, (out,), or (in,) where ``on_input``.
        on_input: which axis has lengths of its own.
    """

    base: FrozenLayer
    inner: Delta
    magnitude: Annotated[Tensor, "channels"]
    on_input: bool

    def share(self) -> Annotated[Tensor, "channels"]:
        """c, like ``magnitude``, at least float32. Costs as much as reading the weight."""
        weight = self.base.weight
        with torch.autocast(weight.device.type, enabled=False):  # bf16 would blur the lengths
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
            return "merged"  # which goes d's own cheapest way
        return "chain" if self.inner.cheapest(tokens, can_merge=False) == "chain" else "dense"

    def apply_thin(self, x: Tensor, base_out: Tensor | None) -> Tensor:
        share = self.share()
        if self.on_input:
            update = self.base.op(x * self._over(share - 1, x.dtype))
            out = sum_of([base_out, update * self._over_positions(x.dtype)])
            assert out is not None
            inner = self.inner.scaled(self.scale)
            return inner.apply_thin(x * self._over(share, x.dtype), out)
        plain = self.base.plain(x)
        update = plain * self._over((share - 1) * self.scale, plain.dtype)
        out = update if base_out is None else base_out + update
        return self.inner.scaled(share * self.scale).apply_thin(x, out)

    def apply_merged(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The lengths move into the input or the output: W + delta is built only where d is."""
        layer, tokens = self.layer, self.layer.tokens(x)
        if layer.groups != 1 or (self.on_input and self._has_rows()):
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
    """||W + d|| of each channel.

    Args:
        weight: (out, in, *kernel).
        on_input: one norm per input channel instead of per output channel.
        update: d; nothing where it is None.

    Returns:
        (in,) or (out,), in the weight's dtype, at least float32.
    """
    if _is_thin(update, weight):
        own = _squares(weight, on_input)
        squares = own + _growth(weight, on_input, update)
        if not bool((squares < _CANCELLED * own).any()):
            return squares.sqrt()
    return _squares(weight, on_input, update).sqrt()


def _is_thin(update: Delta | None, weight: Tensor) -> TypeGuard[Chained]:
    """Whether d's factors cost less than its numbers. A product of a low rank does; a Hadamard
    product has the product of its ranks there, and their sum here."""
    return (
        isinstance(update, Chained)
        and not update.has_core()
        and update.chain_rank() <= max(_CHAIN_RANK, update.build_cost())
        and weight.dtype in (torch.float32, torch.float64)
        and weight.device.type == "cpu"  # a branch on numbers waits for any other device
        and not torch.compiler.is_compiling()
    )


def _growth(weight: Tensor, on_input: bool, update: Chained) -> Tensor:
    """||W + d||^2 - ||W||^2 = <2 W + d, d> of each channel, from d's factors: d = up^T down."""
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
    """||W + d||^2 of each channel, from some rows of W + d at a time."""
    out_features, fan_in = len(weight), weight[0].numel()
    whole = update is not None and update.rows(slice(0, 1)) is None
    numbers = _NUMBERS if update is None else _NUMBERS // 2  # beside them, a product of d's
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
    return weight.to(torch.promote_types(weight.dtype, torch.float32))
