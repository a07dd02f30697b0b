"""The element-wise product of two low-rank updates: LoHa's structure.

It is a low-rank product itself, of Khatri-Rao factors with rank1 * rank2 ranks (``khatri_rao``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lycoris_ext.functional import gram, khatri_rao, thin_conv
from lycoris_ext.functional.chained import Chain, Chained
from lycoris_ext.functional.low_rank import LowRank


@dataclass(frozen=True)
class Hadamard(Chained):
    """The element-wise product of ``first`` and ``second``.

    Both have a core or neither has, and the scale of both is 1: only ``self.scale`` counts.

    Attributes:
        prebuilt: the Khatri-Rao factors that ``built()`` returned, for a ``LowRank``: up
            (out, R), down, core; empty if each call computes them.
    """

    first: LowRank
    second: LowRank
    prebuilt: tuple[Tensor, ...] = ()

    def merged(self, weight: Tensor) -> Tensor:
        if torch.is_tensor(self.scale) or self.first.up.dtype != weight.dtype:
            return super().merged(weight)
        first, second = (side.matrix(*side.tensors()) for side in (self.first, self.second))
        return torch.addcmul(weight, first, second, value=self.scale)

    def rows(self, rows: slice) -> Hadamard:
        layer, scale = self._cut(rows)
        return Hadamard(layer, scale, self.first.rows(rows), self.second.rows(rows))

    def tensors(self) -> tuple[Tensor, ...]:
        return self.first.tensors() + self.second.tensors()

    def has_core(self) -> bool:
        return self.first.has_core()

    def build_cost(self) -> int:
        return max(self.first.build_cost(), self.second.build_cost())

    def chain_rank(self) -> int:
        return self.first.chain_rank() * self.second.chain_rank()

    def matrix(self, *tensors: Tensor) -> Tensor:
        half = len(tensors) // 2
        return self.first.matrix(*tensors[:half]) * self.second.matrix(*tensors[half:])

    def unmatrix(self, tensors: tuple[Tensor, ...], grad: Tensor) -> tuple[Tensor, ...]:
        half = len(tensors) // 2
        first, second = tensors[:half], tensors[half:]
        return (
            *self.first.unmatrix(first, grad * self.second.matrix(*second)),
            *self.second.unmatrix(second, grad * self.first.matrix(*first)),
        )

    def sum_sq(self) -> Tensor:
        if self.has_core():
            chain = self.chain(*self.transposed(*self.tensors()))
            assert chain.core is not None  # both sides have one
            return gram.tucker(chain.up.T, chain.core, chain.down)
        one, two, layer = self.first, self.second, self.layer
        factors = (one.up, one.down.flatten(1), two.up, two.down.flatten(1))
        made = gram.pairs(one.chain_rank()) * gram.pairs(two.chain_rank())
        area = layer.out_features * layer.fan_in
        if made * (layer.out_features + layer.fan_in) < area * self.build_cost():
            return gram.hadamard(*factors)
        return gram.hadamard_by_rows(*factors)

    def transposed(self, *leaves: Tensor) -> tuple[Tensor, ...]:
        half = len(leaves) // 2
        (up1, *others1), (up2, *others2) = leaves[:half], leaves[half:]
        return up1.T.contiguous(), *others1, up2.T.contiguous(), *others2

    def chain(self, *leaves: Tensor) -> Chain:
        half = len(leaves) // 2
        (up1, down1, *core1), (up2, down2, *core2) = leaves[:half], leaves[half:]
        return Chain(
            down=khatri_rao.rows(down1, down2),
            up=khatri_rao.rows(up1, up2),
            core=khatri_rao.cores(core1[0], core2[0]) if core1 else None,
        )

    def unchain(self, leaves: tuple[Tensor, ...], grads: Chain) -> tuple[Tensor, ...]:
        half = len(leaves) // 2
        (up1, down1, *core1), (up2, down2, *core2) = leaves[:half], leaves[half:]
        grad_up1, grad_up2 = khatri_rao.rows_backward(grads.up, up1, up2)
        grad_down1, grad_down2 = khatri_rao.rows_backward(grads.down, down1, down2)
        if grads.core is None:
            return grad_up1, grad_down1, grad_up2, grad_down2
        grad_core1, grad_core2 = khatri_rao.cores_backward(grads.core, core1[0], core2[0])
        return grad_up1, grad_down1, grad_core1, grad_up2, grad_down2, grad_core2

    def built(self) -> tuple[Tensor, ...]:
        flat = not self.has_core() and thin_conv.fits(self.layer, self.first.up.device)
        leaves = self.tensors()
        if flat:  # the memory order in which every batch reads them
            leaves = tuple(thin_conv.flattened(leaf) if leaf.ndim > 2 else leaf for leaf in leaves)
        chain = self.chain(*self.transposed(*leaves))
        if flat:
            chain = replace(chain, down=thin_conv.unflattened(chain.down, self.layer))
        up = chain.up.T
        return (up, chain.down) if chain.core is None else (up, chain.down, chain.core)

    def with_built(self, tensors: tuple[Tensor, ...]) -> Hadamard:
        return replace(self, prebuilt=tensors)

    def apply_thin(self, x: Tensor, base_out: Tensor | None) -> Tensor:
        if self.prebuilt:
            return LowRank(self.layer, self.scale, *self.prebuilt).apply_thin(x, base_out)
        return super().apply_thin(x, base_out)
