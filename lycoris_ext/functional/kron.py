"""The Kronecker product of two matrices or kernels: LoKr's structure.

To apply it without building the (out, in) matrix, split the input channels into m slices, apply
``second`` to each slice, then let ``first`` mix the m results. Derivation: docs/algorithms/lokr.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lycoris_ext.functional.delta import Recomputed


@dataclass(frozen=True)
class Kron(Recomputed):
    """The Kronecker product of ``first`` and ``second``, whose own scales must be 1.

    Attributes:
        first: an (l, m) matrix, held as the update of a Linear layer of this size.
        second: a (k, n, *kernel) weight, held as the update of a layer like the adapted one;
            l * k = out and m * n = in. Or a (k, n) matrix for an adapted convolution, with m * n =
            in * kernel area: their product is the update as a matrix.
    """

    first: Recomputed
    second: Recomputed

    def tensors(self) -> tuple[Tensor, ...]:
        return self.first.tensors() + self.second.tensors()

    def matrix(self, *tensors: Tensor) -> Tensor:
        first, second = self._matrices(tensors)
        return torch.einsum("lm,kns->lkmns", first, second).reshape(self.layer.weight_shape)

    def unmatrix(self, tensors: tuple[Tensor, ...], grad: Tensor) -> tuple[Tensor, ...]:
        first, second = self._matrices(tensors)
        grad = grad.reshape(len(first), len(second), first.shape[1], *second.shape[1:])
        grad_first = torch.einsum("lkmns,kns->lm", grad, second)
        grad_second = torch.einsum("lkmns,lm->kns", grad, first)
        ours, theirs = self._split(tensors)
        return (
            *self.first.unmatrix(ours, grad_first),
            *self.second.unmatrix(theirs, grad_second.reshape(self.second.layer.weight_shape)),
        )

    def build_cost(self) -> int:
        return 1  # one product for each entry; building the two matrices costs little beside it

    def sum_sq(self) -> Tensor:
        return self.first.sum_sq() * self.second.sum_sq()

    def thin_cost(self) -> int | None:
        outer, inner = self.first.layer, self.second.layer
        if inner.kernel != self.layer.kernel:
            return None  # the kernel is split, too: no layer of slices computes this
        read = self.second.thin_cost()
        if read is None:
            read = inner.out_features * inner.fan_in
        return outer.in_features * (read + outer.out_features * inner.out_features)

    def apply_thin(self, x: Tensor, base_out: Tensor | None) -> Tensor:
        outer, inner = self.first.layer, self.second.layer
        path = "dense" if self.second.thin_cost() is None else "chain"
        mix = self.first.dense() * (1.0 if self._has_row_scale() else self.scale)
        if self.layer.is_conv:
            slices = x.unflatten(1, (outer.in_features, inner.in_features)).flatten(0, 1)
            read = self.second.apply(slices, None, path)  # (batch * m, k, *spatial)
            spatial = read.shape[2:]
            read = read.reshape(len(x), outer.in_features, -1)
            out = torch.matmul(mix.to(x.dtype), read).reshape(len(x), -1, *spatial)
        else:
            slices = x.unflatten(-1, (outer.in_features, inner.in_features))
            read = self.second.apply(slices, None, path)  # (..., m, k)
            out = torch.matmul(mix.to(x.dtype), read).flatten(-2)
        if self._has_row_scale():
            out = out * self._over_positions(out.dtype)
        return out if base_out is None else base_out + out

    def _matrices(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Build both matrices, (l, m) and (k, n, kernel area)."""
        ours, theirs = self._split(tensors)
        second = self.second.matrix(*theirs)
        return self.first.matrix(*ours), second.reshape(*second.shape[:2], -1)

    def _split(self, tensors: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        count = len(self.first.tensors())
        return tensors[:count], tensors[count:]
