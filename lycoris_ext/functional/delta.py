"""The update of one weight in its exact structure, and every reading of it.

An algorithm returns a ``Delta``; forward, merge, export and norms are readings of that one object.
That all of them agree is a law of this file, not a duty of each algorithm.

Three paths lead to the same output (cost model and derivation: docs/algorithms/loha.md):

    chain    base(x) + up(core(down(x)))      never builds an (out, in) matrix
    dense    base(x) + op(x, delta)           safe for a base in low precision or a foreign class
    merged   op(x, base_weight + delta)       one product, where the base weight is float32
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from lycoris_ext.errors import ShapeError
from lycoris_ext.functional import khatri_rao, product, thin_conv
from lycoris_ext.functional.layer import LayerSpec
from lycoris_ext.functional.paths import Chain, ChainApply, MergedApply

Scale = float | Tensor
Self = TypeVar("Self", bound="Delta")

# What one merged build costs in passes over (out, in), expressed in tokens of the base product.
# Measured crossovers lie between 60 and 240 on a CPU; inside that band both paths cost the same.
_PASSES_IN_TOKENS = 120


@dataclass(frozen=True)
class Delta(ABC):
    """An update of a weight of shape ``layer.weight_shape``.

    Attributes:
        layer: the layer whose weight is updated.
        scale: everything the update is multiplied by, applied here and nowhere else: a number, or
            a tensor of shape () or (out,).
    """

    layer: LayerSpec
    scale: Scale

    def scaled(self: Self, factor: Scale) -> Self:
        """The same update times a number or a tensor of shape () or (out,)."""
        # A method rather than ``*``: torch.compile takes a tensor times anything for a tensor.
        return replace(self, scale=self.scale * factor)

    @abstractmethod
    def dense(self) -> Tensor:
        """The scaled update, ``layer.weight_shape``."""

    def merged(self, weight: Tensor) -> Tensor:
        """weight + delta, in the weight's dtype."""
        return weight + self.dense().to(weight.dtype)

    def bias(self) -> Tensor | None:
        """The scaled update of the layer's bias, (out,); None where it has none."""
        return None

    def rows(self: Self, rows: slice) -> Self | None:
        """The update of these output channels alone; None where its form cannot be cut so."""
        return None

    def thin_cost(self) -> int | None:
        """Multiplications per position of the way through thin tensors that ``apply`` calls
        "chain"; None where there is none."""
        return None

    def only_thin(self) -> bool:
        """Whether ``dense`` cannot be built: it reads a weight that is packed."""
        return False

    def build_cost(self) -> int:
        """Multiplications per entry of ``dense``."""
        return 0

    def apply_thin(self, x: Tensor, base_out: Tensor | None) -> Tensor:
        """``apply`` without ever building an (out, in) matrix."""
        raise ShapeError(f"{type(self).__name__} has no thin form")  # thin_cost() is None

    def built(self) -> tuple[Tensor, ...]:
        """What the thin way builds from the leaves before it sees an input; () where that is
        nothing. The scale is no part of it."""
        return ()

    def with_built(self: Self, tensors: tuple[Tensor, ...]) -> Self:
        """The same update; its thin way starts from these tensors, which ``built`` gave, and
        leaves its gradients there. The other paths start from the leaves as ever."""
        raise ShapeError(f"{type(self).__name__} builds nothing")  # built() is ()

    def apply(self, x: Tensor, base_out: Tensor | None, path: str) -> Tensor:
        """base_out + delta(x), or delta(x) alone where base_out is None.

        Args:
            x: the layer's input, (..., in) or (batch, in, *spatial), already padded.
            base_out: what the frozen layer returned for x, and other updates of it; its dtype is
                the result's.
            path: "chain" or "dense".
        """
        if base_out is not None:
            x = x.to(base_out.dtype)
        if path == "chain":
            return self.apply_thin(x, base_out)
        bias = self.bias()
        bias = None if bias is None else bias.to(x.dtype)
        out = self.layer.op(x, self.dense().to(x.dtype), bias)
        return out if base_out is None else base_out + out

    def apply_merged(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """op(x, weight + delta): the layer's output in one product of its size."""
        return self.layer.op(x, self.merged(weight), sum_of([bias, self.bias()]))

    def cheapest(self, tokens: int, can_merge: bool) -> str:
        """The path of least cost for one training step of ``tokens`` positions."""
        thin = self.thin_cost()
        dense = "merged" if can_merge else "dense"
        if thin is None or self.layer.groups != 1:
            return dense
        if self.only_thin():
            return "chain"
        area = self.layer.out_features * self.layer.fan_in
        products = 2 if can_merge else 6  # extra N o i of a step beside the frozen layer's own 4
        dense_cost = area * (products * tokens + 16 * self.build_cost() + 2 * _PASSES_IN_TOKENS)
        return "chain" if 6 * tokens * thin <= dense_cost else dense

    def _cut(self, rows: slice) -> tuple[LayerSpec, Scale]:
        """The layer and the scale of some output channels."""
        count = len(range(self.layer.out_features)[rows])
        scale = self.scale
        if torch.is_tensor(scale) and scale.ndim:
            scale = scale[rows]
        return replace(self.layer, out_features=count), scale

    def _has_rows(self) -> bool:
        """Whether each output channel has a scale of its own."""
        return torch.is_tensor(self.scale) and self.scale.ndim == 1

    def _over_positions(self, dtype: torch.dtype) -> Scale:
        """The scale, broadcastable over an activation that the layer returned."""
        scale = self.scale
        if not torch.is_tensor(scale):
            return scale
        return (self.layer.over_positions(scale) if scale.ndim else scale).to(dtype)

    def _row_scale(self, trailing: int) -> Scale:
        """The scale, broadcastable over (out, *trailing)."""
        if torch.is_tensor(self.scale) and self.scale.ndim == 1:
            return self.scale.reshape(-1, *[1] * trailing)
        return self.scale


class Leafy(Delta):
    """An update made of leaves alone: it keeps them instead of what is built from them."""

    @abstractmethod
    def tensors(self) -> tuple[Tensor, ...]:
        """The leaves, in the order that ``matrix`` and ``unmatrix`` take them."""

    @abstractmethod
    def matrix(self, *tensors: Tensor) -> Tensor:
        """The unscaled update, ``layer.weight_shape``, from the leaves."""

    @abstractmethod
    def unmatrix(self, tensors: tuple[Tensor, ...], grad: Tensor) -> tuple[Tensor, ...]:
        """Gradients of the leaves from the gradient of ``matrix``."""

    def dense(self) -> Tensor:
        return self.matrix(*self.tensors()) * self._row_scale(1 + len(self.layer.kernel))

    def apply_merged(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The sum is rebuilt in the backward, not kept."""
        if torch.is_tensor(self.scale):
            return super().apply_merged(x, weight, bias)
        bias = sum_of([bias, self.bias()])
        arguments = (x, weight, bias, self.scale, self, *self.tensors())
        out: Tensor = MergedApply.apply(*arguments)
        return out


@dataclass(frozen=True)
class Dense(Leafy):
    """An update stored as it is, perhaps with one of the bias."""

    weight: Tensor
    of_bias: Tensor | None = None

    def bias(self) -> Tensor | None:
        return None if self.of_bias is None else self.of_bias * self.scale

    def tensors(self) -> tuple[Tensor, ...]:
        return (self.weight,)

    def matrix(self, *tensors: Tensor) -> Tensor:
        return tensors[0].reshape(self.layer.weight_shape)

    def unmatrix(self, tensors: tuple[Tensor, ...], grad: Tensor) -> tuple[Tensor, ...]:
        return (grad.reshape(tensors[0].shape),)


class Chained(Leafy):
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


@dataclass(frozen=True)
class LowRank(Chained):
    """up @ down, or with a core (Tucker) up x core x down.

    Attributes:
        up: (out, rank).
        down: (rank, in, *kernel); (rank, in) where there is a core.
        core: (rank, rank, *kernel), first index towards up.
    """

    up: Tensor
    down: Tensor
    core: Tensor | None = None

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

    def transposed(self, *leaves: Tensor) -> tuple[Tensor, ...]:
        up, *others = leaves
        return up.T, *others

    def chain(self, *leaves: Tensor) -> Chain:
        up, down, *core = leaves
        return Chain(down, up, core[0] if core else None)

    def unchain(self, leaves: tuple[Tensor, ...], grads: Chain) -> tuple[Tensor, ...]:
        return (grads.up, grads.down) if grads.core is None else (grads.up, grads.down, grads.core)


@dataclass(frozen=True)
class Hadamard(Chained):
    """first o second, both of the same form; the inner scales are 1.

    Attributes:
        kept: the chain's factors as a ``LowRank`` takes them, where they were built before.
    """

    first: LowRank
    second: LowRank
    kept: tuple[Tensor, ...] = ()

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
        if flat:  # kept in the memory order that is read from then on
            leaves = tuple(thin_conv.flattened(leaf) if leaf.ndim > 2 else leaf for leaf in leaves)
        chain = self.chain(*self.transposed(*leaves))
        if flat:
            chain = replace(chain, down=thin_conv.unflattened(chain.down, self.layer))
        up = chain.up.T
        return (up, chain.down) if chain.core is None else (up, chain.down, chain.core)

    def with_built(self, tensors: tuple[Tensor, ...]) -> Hadamard:
        return replace(self, kept=tensors)

    def apply_thin(self, x: Tensor, base_out: Tensor | None) -> Tensor:
        if self.kept:
            return LowRank(self.layer, self.scale, *self.kept).apply_thin(x, base_out)
        return super().apply_thin(x, base_out)


def sum_of(tensors: Sequence[Tensor | None]) -> Tensor | None:
    """Of those that are there, in the dtype of the first; None where none is."""
    present = [tensor for tensor in tensors if tensor is not None]
    if not present:
        return None
    total = present[0]
    for tensor in present[1:]:
        total = total + tensor.to(total.dtype)
    return total
