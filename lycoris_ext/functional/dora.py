"""DoRA: the direction of W + d learned apart from its length, over any other update d.

    W' = c (W + d),  c = g / ||W + d||      so  delta = (c - 1) W + c d

with one length g per output channel, or per input channel. The norm is a constant to the gradient,
as in the paper (section 4.3); it is summed from rows of W + d that fit the cache, so no (out, in)
matrix is built where d has a thin form. Derivation: docs/algorithms/dora.md.

Source: DoRA, Liu et al. 2024, arXiv:2402.09353; on the input axis LyCORIS 2.0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lycoris_ext.functional.base import Base
from lycoris_ext.functional.delta import Delta, sum_of

# Numbers of W + d that are built at a time: they stay in a processor's cache.
_NUMBERS = 1 << 17


@dataclass(frozen=True)
class Dora(Delta):
    """delta = (c - 1) W + c d; all of it times ``scale``.

    Attributes:
        base: the layer.
        inner: d.
        magnitude: g, (out,), or (in,) where ``on_input``.
        on_input: which axis has lengths of its own.
    """

    base: Base
    inner: Delta
    magnitude: Tensor
    on_input: bool

    def share(self) -> Tensor:
        """c, like ``magnitude``, at least float32. Costs as much as reading the weight."""
        norms = weight_norms(self.base.weight, self.on_input, self.inner)
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
def weight_norms(weight: Tensor, on_input: bool, update: Delta | None = None) -> Tensor:
    """||W + d|| of each channel.

    Args:
        weight: (out, in, *kernel).
        on_input: one norm per input channel instead of per output channel.
        update: d; nothing where it is None.

    Returns:
        (in,) or (out,), in the weight's dtype, at least float32.
    """
    out_features, in_features = weight.shape[:2]
    whole = update is not None and update.rows(slice(0, 1)) is None
    step = out_features if whole else max(1, _NUMBERS // weight[0].numel())
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
            by_row.append(torch.linalg.vector_norm(part, dim=1))
            continue
        columns = (part * part).sum(0)  # a norm over the first axis is read column by column: slow
        by_column = columns if by_column is None else by_column.add_(columns)
    if by_column is not None:
        return by_column.reshape(in_features, -1).sum(1).sqrt()
    return torch.cat(by_row)


def _precise(weight: Tensor) -> Tensor:
    return weight.to(torch.promote_types(weight.dtype, torch.float32))
