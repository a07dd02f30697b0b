"""Low-rank updates, up @ down: LoRA's structure, for convolutions also with a Tucker core."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor

from lycoris_ext.functional import gram, product
from lycoris_ext.functional.chained import Chain, Chained


@dataclass(frozen=True)
class LowRank(Chained):
    """The update up @ down, or up x core x down if there is a Tucker core.

    Attributes:
        up: (out, rank).
        down: (rank, in, *kernel); (rank, in) if there is a core.
        core: (rank, rank, *kernel), or None; its first index meets ``up``.
    """

    up: Annotated[Tensor, "out rank"]
    down: Annotated[Tensor, "rank in ..."]
    core: Annotated[Tensor, "rank rank ..."] | None = None

    def merged(self, weight: Tensor) -> Tensor:
        if self.has_core() or torch.is_tensor(self.scale) or self.up.dtype != weight.dtype:
            return super().merged(weight)
        down = self.down.flatten(1)
        return torch.addmm(weight.flatten(1), self.up, down, alpha=self.scale).view(weight.shape)

    def rows(self, rows: slice) -> LowRank:
        layer, scale = self._cut(rows)
        return replace(self, layer=layer, scale=scale, up=self.up[rows])

    def tensors(self) -> tuple[Tensor, ...]:
        return (self.up, self.down) if self.core is None else (self.up, self.down, self.core)

    def has_core(self) -> bool:
        return self.core is not None

    def build_cost(self) -> int:
        return int(self.up.shape[1])

    def chain_rank(self) -> int:
        return int(self.up.shape[1])

    def matrix(self, *tensors: Tensor) -> Tensor:
        up, down, *core = tensors
        if core:
            flat = core[0].flatten(2)  # (rank, rank, area)
            inner = torch.einsum("abk,bi->aik", flat, down)
            return (up @ inner.flatten(1)).reshape(self.layer.weight_shape)
        return product.mm(up, down.flatten(1)).reshape(self.layer.weight_shape)

    def unmatrix(self, tensors: tuple[Tensor, ...], grad: Tensor) -> tuple[Tensor, ...]:
        up, down, *core = tensors
        if core:
            flat, grad = core[0].flatten(2), grad.flatten(2)  # (rank, rank, area), (out, in, area)
            inner = torch.einsum("abk,bi->aik", flat, down)
            grad_up = grad.flatten(1) @ inner.flatten(1).T
            grad_inner = torch.einsum("oa,oik->aik", up, grad)
            grad_core = torch.einsum("aik,bi->abk", grad_inner, down).reshape(core[0].shape)
            return grad_up, torch.einsum("aik,abk->bi", grad_inner, flat), grad_core
        grad = grad.flatten(1)
        grad_down = product.mm(up.T, grad).reshape(down.shape)
        return product.mm(grad, down.flatten(1).T), grad_down

    def sum_sq(self) -> Tensor:
        if self.core is not None:
            return gram.tucker(self.up, self.core, self.down)
        rank, layer = self.chain_rank(), self.layer
        if rank * (layer.out_features + layer.fan_in) > layer.out_features * layer.fan_in:
            return super().sum_sq()
        return gram.product(self.up, self.down.flatten(1))

    def transposed(self, *leaves: Tensor) -> tuple[Tensor, ...]:
        up, *others = leaves
        return up.T, *others

    def chain(self, *leaves: Tensor) -> Chain:
        up, down, *core = leaves
        return Chain(down, up, core[0] if core else None)

    def unchain(self, leaves: tuple[Tensor, ...], grads: Chain) -> tuple[Tensor, ...]:
        return (grads.up, grads.down) if grads.core is None else (grads.up, grads.down, grads.core)
