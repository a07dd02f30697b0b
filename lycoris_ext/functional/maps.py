"""Updates that multiply the frozen weight by a matrix M over its channels, and sums of updates.

The adapted weight is M W or W M, so that the update is (M - I) W or W (M - I). M - I is what is
stored: M itself is close to the identity, and in a low precision the difference would be lost.
Applied to activations neither form needs the (out, in) matrix:

    (M - I) W x = (M - I) (base(x) - bias)        W (M - I) x = op((M - I) x, W)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from lycoris_ext.functional.delta import Delta, sum_of
from lycoris_ext.functional.frozen_layer import FrozenLayer

# A map also takes passes over an activation. This is their cost, as a number of multiplications for
# each number of the activation. Measured between 80 and 130 on a CPU.
PASSES = 100


class ChannelMap(ABC):
    """A square matrix S = M - I over the channels of a layer's input or output."""

    @abstractmethod
    def planes(
        self, y: Annotated[Tensor, "*any channels positions"]
    ) -> Annotated[Tensor, "*any channels positions"]:
        """Return S y for an activation whose channels are the axis before the last.

        Args:
            y: (..., channels, positions).

        Returns:
            (..., channels, positions) in the dtype of y.
        """

    def shift(self, y: Annotated[Tensor, "*any channels"]) -> Annotated[Tensor, "*any channels"]:
        """Return S y for an activation whose channels come last, (..., channels)."""
        flat: Tensor = _Transposed.apply(y.reshape(-1, y.shape[-1]))
        return _Transposed.apply(self.planes(flat)).view(y.shape)  # type: ignore[no-any-return]

    def pull(self, rows: Annotated[Tensor, "*any channels"]) -> Annotated[Tensor, "*any channels"]:
        """Return rows @ S, (..., channels), in the dtype of ``rows``."""
        return rows @ self.planes(torch.eye(rows.shape[-1], dtype=rows.dtype, device=rows.device))

    @abstractmethod
    def cost(self, channels: int) -> int:
        """Return what applying S costs for each position, in multiplications."""


@dataclass(frozen=True)
class Diagonal(ChannelMap):
    """A channel map that multiplies each channel by a factor of its own (M is diagonal).

    Attributes:
        values: (channels,), the factors minus 1: the diagonal of S.
    """

    values: Annotated[Tensor, "channels"]

    def shift(self, y: Tensor) -> Tensor:
        return y * self.values.to(y.dtype)

    def planes(self, y: Tensor) -> Tensor:
        return y * self.values.to(y.dtype).unsqueeze(1)

    def pull(self, rows: Tensor) -> Tensor:
        return self.shift(rows)

    def cost(self, channels: int) -> int:
        return channels


@dataclass(frozen=True)
class Thin(ChannelMap):
    """A channel map whose S = M - I is a product of low rank: left @ right.

    Attributes:
        left: (channels, rank).
        right: (rank, channels).
    """

    left: Annotated[Tensor, "channels rank"]
    right: Annotated[Tensor, "rank channels"]

    def planes(self, y: Tensor) -> Tensor:
        return self.left.to(y.dtype) @ (self.right.to(y.dtype) @ y)

    def shift(self, y: Tensor) -> Tensor:
        return (y @ self.right.to(y.dtype).T) @ self.left.to(y.dtype).T

    def pull(self, rows: Tensor) -> Tensor:
        return (rows @ self.left.to(rows.dtype)) @ self.right.to(rows.dtype)

    def cost(self, channels: int) -> int:
        return 2 * channels * int(self.right.shape[0])


class _Transposed(torch.autograd.Function):
    """Transpose a matrix by copying, forward and backward.

    A transposed view would make every product that reads it slow.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        return matrix.T.contiguous()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.T.contiguous()


@dataclass(frozen=True)
class Mapped(Delta):
    """An update that is a channel map times the base weight, from the left or from the right.

    Attributes:
        base: the frozen layer, which has the weight.
        map: S = M - I.
    """

    base: FrozenLayer
    map: ChannelMap

    def only_thin(self) -> bool:
        return not self.base.has_weight

    def _build_cost(self, channels: int) -> int:
        """Return the cost of ``dense`` for each number, scaled for ``Delta.cheapest``.

        That method counts eight products a training step, as a Hadamard product takes; a map takes
        three.
        """
        return self.map.cost(channels) * 3 // (8 * channels)

    def _shifted(self, x: Tensor) -> Tensor:
        """Return S x for an activation x of the layer, over its channels."""
        if not self.layer.is_conv:
            return self.map.shift(x)
        return self.map.planes(x.flatten(2)).view(x.shape)

    def _weight(self) -> Tensor:
        """Return the base weight in at least float32."""
        weight = self.base.weight
        return weight.to(torch.promote_types(weight.dtype, torch.float32))


@dataclass(frozen=True)
class OutputMap(Mapped):
    """The update (M - I) W, which maps the output channels of the layer."""

    def dense(self) -> Tensor:
        update = self.map.planes(self._weight().flatten(1)).reshape(self.layer.weight_shape)
        return update * self._row_scale(update.ndim - 1)

    def build_cost(self) -> int:
        return self._build_cost(self.layer.out_features)

    def thin_cost(self) -> int:
        out = self.layer.out_features
        return self.map.cost(out) + out * PASSES

    def apply_thin(self, x: Tensor, base_out: Tensor | None) -> Tensor:
        out = self.base.output_without_bias(x)
        update = self._shifted(out) * self._over_positions(out.dtype)
        return update if base_out is None else base_out + update


@dataclass(frozen=True)
class InputMap(Mapped):
    """The update W (M - I), which maps the input channels of the layer."""

    def dense(self) -> Tensor:
        rows = self._weight().movedim(1, -1)  # (out, *kernel, in)
        update = self.map.pull(rows).movedim(-1, 1)
        return update * self._row_scale(update.ndim - 1)

    def build_cost(self) -> int:
        return self._build_cost(self.layer.in_features)

    def thin_cost(self) -> int:
        layer = self.layer
        # The layer is applied once more, at two of a training step's three products: its weight
        # takes no gradient.
        again = layer.out_features * layer.fan_in * 2 // 3
        return self.map.cost(layer.in_features) + again

    def apply_thin(self, x: Tensor, base_out: Tensor | None) -> Tensor:
        update = self.base.op(self._shifted(x)) * self._over_positions(x.dtype)
        return update if base_out is None else base_out + update

    def cheapest(self, tokens: int, can_merge: bool) -> str:
        if can_merge and self.layer.groups == 1 and not self._has_row_scale():
            return "merged"
        return super().cheapest(tokens, can_merge)

    def apply_merged(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Apply the map to the input, then the frozen weight: no merged weight is built."""
        if self.layer.groups != 1 or self._has_row_scale():
            return super().apply_merged(x, weight, bias)
        return self.layer.op(x + self._shifted(x) * self.scale, weight, bias)


@dataclass(frozen=True)
class Sum(Delta):
    """The sum of several updates of one layer.

    Attributes:
        terms: the updates, each with its own scale; ``self.scale`` multiplies their sum.
    """

    terms: tuple[Delta, ...]

    def dense(self) -> Tensor:
        update = sum_of([term.dense() for term in self.terms])
        assert update is not None
        return update * self._row_scale(update.ndim - 1)

    def bias(self) -> Tensor | None:
        bias = sum_of([term.bias() for term in self.terms])
        return None if bias is None else bias * self.scale

    def only_thin(self) -> bool:
        return any(term.only_thin() for term in self.terms)

    def build_cost(self) -> int:
        return sum(term.build_cost() for term in self.terms)

    def thin_cost(self) -> int | None:
        costs = [term.thin_cost() for term in self.terms]
        return None if None in costs else sum(cost or 0 for cost in costs)

    def cheapest(self, tokens: int, can_merge: bool) -> str:
        if can_merge and self.terms[0].scaled(self.scale).cheapest(tokens, True) == "merged":
            return "merged"
        return super().cheapest(tokens, can_merge)

    def apply_merged(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Merge the first term, and add each of the others on its own cheapest path."""
        first, *others = (term.scaled(self.scale) for term in self.terms)
        out = first.apply_merged(x, weight, bias)
        for term in others:
            out = term.apply(x, out, term.cheapest(self.layer.tokens(x), can_merge=False))
        return out

    def apply_thin(self, x: Tensor, base_out: Tensor | None) -> Tensor:
        out = base_out
        for term in self.terms:
            out = term.scaled(self.scale).apply_thin(x, out)
        assert out is not None
        return out


@dataclass(frozen=True)
class BiasUpdate(Delta):
    """An update of the layer's bias alone; the weight stays as it is.

    Attributes:
        of_bias: the difference to the bias.
    """

    of_bias: Annotated[Tensor, "out"]

    def dense(self) -> Tensor:
        return self.of_bias.new_zeros(()).expand(self.layer.weight_shape)

    def bias(self) -> Tensor:
        return self.of_bias * self.scale

    def thin_cost(self) -> int:
        return 0

    def apply_thin(self, x: Tensor, base_out: Tensor | None) -> Tensor:
        if base_out is None:
            return self.apply(x, None, "dense")
        return base_out + self.layer.over_positions(self.bias()).to(base_out.dtype)
