"""Updates that act on the channels of the frozen layer: M W or W M, and sums of updates.

A map is kept as M - I, never as M: near the identity a low precision would swallow the update. On
activations neither needs the (out, in) matrix:

    (M - I) W x = (M - I) (base(x) - bias)        W (M - I) x = op((M - I) x, W)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from lycoris_ext.functional.base import Base
from lycoris_ext.functional.delta import Delta, sum_of


class ChannelMap(ABC):
    """S = M - I over a number of channels."""

    @abstractmethod
    def shift(self, y: Tensor) -> Tensor:
        """S y for every position, (..., channels) -> (..., channels), in y's dtype."""

    def pull(self, rows: Tensor) -> Tensor:
        """Each row times S: (..., channels) -> (..., channels), in the rows' dtype."""
        eye = torch.eye(rows.shape[-1], dtype=rows.dtype, device=rows.device)
        return rows @ self.shift(eye).T

    @abstractmethod
    def cost(self, channels: int) -> int:
        """Multiplications per position."""


@dataclass(frozen=True)
class Diagonal(ChannelMap):
    """One factor per channel.

    Attributes:
        values: (channels,), the factors minus 1.
    """

    values: Tensor

    def shift(self, y: Tensor) -> Tensor:
        return y * self.values.to(y.dtype)

    def pull(self, rows: Tensor) -> Tensor:
        return self.shift(rows)

    def cost(self, channels: int) -> int:
        return channels


@dataclass(frozen=True)
class Mapped(Delta):
    """A map on one side of the base weight."""

    base: Base
    map: ChannelMap

    def build_cost(self) -> int:
        return 1

    def _shifted(self, x: Tensor) -> Tensor:
        """The map on the channels of an activation."""
        if not self.layer.is_conv:
            return self.map.shift(x)
        return self.map.shift(x.movedim(1, -1)).movedim(-1, 1)

    def _weight(self) -> Tensor:
        """The base weight as precise as the sum with it: at least float32."""
        weight = self.base.weight
        return weight.to(torch.promote_types(weight.dtype, torch.float32))


@dataclass(frozen=True)
class OutputMap(Mapped):
    """delta = (M - I) W, over the output channels."""

    def dense(self) -> Tensor:
        columns = self._weight().flatten(1).T  # (in*k, out)
        update = self.map.shift(columns).T.reshape(self.layer.weight_shape)
        return update * self._row_scale(update.ndim - 1)

    def thin_cost(self) -> int:
        return self.map.cost(self.layer.out_features)

    def apply_thin(self, x: Tensor, base_out: Tensor | None) -> Tensor:
        plain = self.base.plain(x)
        update = self._shifted(plain) * self._over_positions(plain.dtype)
        return update if base_out is None else base_out + update


@dataclass(frozen=True)
class InputMap(Mapped):
    """delta = W (M - I), over the input channels."""

    def dense(self) -> Tensor:
        rows = self._weight().movedim(1, -1)  # (out, *kernel, in)
        update = self.map.pull(rows).movedim(-1, 1)
        return update * self._row_scale(update.ndim - 1)

    def thin_cost(self) -> int:
        layer = self.layer
        return self.map.cost(layer.in_features) + layer.out_features * layer.fan_in

    def apply_thin(self, x: Tensor, base_out: Tensor | None) -> Tensor:
        update = self.base.op(self._shifted(x)) * self._over_positions(x.dtype)
        return update if base_out is None else base_out + update

    def cheapest(self, tokens: int, can_merge: bool) -> str:
        if can_merge and self.layer.groups == 1 and not self._has_rows():
            return "merged"
        return super().cheapest(tokens, can_merge)

    def apply_merged(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The map moves into the input: not even here is a weight built."""
        if self.layer.groups != 1 or self._has_rows():
            return super().apply_merged(x, weight, bias)
        return self.layer.op(x + self._shifted(x) * self.scale, weight, bias)


@dataclass(frozen=True)
class Sum(Delta):
    """Updates of one layer, added."""

    terms: tuple[Delta, ...]

    def dense(self) -> Tensor:
        update = sum_of([term.dense() for term in self.terms])
        assert update is not None
        return update * self._row_scale(update.ndim - 1)

    def bias(self) -> Tensor | None:
        bias = sum_of([term.bias() for term in self.terms])
        return None if bias is None else bias * self.scale

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
        """The first term merged, the others in their own cheapest way."""
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
