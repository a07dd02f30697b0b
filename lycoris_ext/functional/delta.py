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
from typing import Annotated, Any, TypeVar

import torch
from torch import Tensor

from lycoris_ext.errors import ShapeError
from lycoris_ext.functional import product
from lycoris_ext.functional.layer import LayerSpec

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
    def dense(self) -> Annotated[Tensor, "out ..."]:
        """The scaled update, ``layer.weight_shape``."""

    def merged(self, weight: Annotated[Tensor, "out *rest"]) -> Annotated[Tensor, "out *rest"]:
        """weight + delta, in the weight's dtype."""
        return weight + self.dense().to(weight.dtype)

    def bias(self) -> Annotated[Tensor, "out"] | None:
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

    def norm(self) -> Annotated[Tensor, ""]:
        """Frobenius norm of ``dense``, a scalar tensor; not built where that is dearer."""
        return self.dense().square().sum().sqrt()

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


class Recomputed(Delta):
    """An update made of leaves alone: it keeps them instead of what is built from them."""

    @abstractmethod
    def tensors(self) -> tuple[Tensor, ...]:
        """The leaves, in the order that ``matrix`` and ``unmatrix`` take them."""

    @abstractmethod
    def matrix(self, *tensors: Tensor) -> Annotated[Tensor, "out ..."]:
        """The unscaled update, ``layer.weight_shape``, from the leaves."""

    @abstractmethod
    def unmatrix(self, tensors: tuple[Tensor, ...], grad: Tensor) -> tuple[Tensor, ...]:
        """Gradients of the leaves from the gradient of ``matrix``."""

    def dense(self) -> Tensor:
        return self.matrix(*self.tensors()) * self._row_scale(1 + len(self.layer.kernel))

    def sum_sq(self) -> Annotated[Tensor, ""]:
        """Sum of the squares of ``matrix``."""
        return self.matrix(*self.tensors()).square().sum()

    def norm(self) -> Tensor:
        if self._has_rows():
            return super().norm()
        return (self.sum_sq().clamp_min(0.0).sqrt() * self.scale).abs()

    def apply_merged(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The sum is rebuilt in the backward, not kept."""
        if torch.is_tensor(self.scale):
            return super().apply_merged(x, weight, bias)
        bias = sum_of([bias, self.bias()])
        arguments = (x, weight, bias, self.scale, self, *self.tensors())
        out: Tensor = MergedApply.apply(*arguments)
        return out


class MergedApply(torch.autograd.Function):
    """op(x, weight + scale * matrix); keeps x and the leaves, rebuilds the sum in the backward."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        scale: float,
        delta: Recomputed,
        *tensors: Tensor,
    ) -> Tensor:
        merged = torch.add(weight, delta.matrix(*tensors), alpha=scale)
        ctx.save_for_backward(x, weight, *tensors)
        ctx.scale, ctx.delta = scale, delta
        return product.no_view(delta.layer.op(x, merged, bias))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *tensors = ctx.saved_tensors
        delta: Recomputed = ctx.delta
        merged = torch.add(weight, delta.matrix(*tensors), alpha=ctx.scale)
        need_x = ctx.needs_input_grad[0]
        grad_x, grad_weight = delta.layer.op_backward(grad, x, merged, need_x)
        grads = delta.unmatrix(tuple(tensors), grad_weight.reshape(weight.shape) * ctx.scale)
        grad_bias = None
        if ctx.needs_input_grad[2]:
            channel = 1 if delta.layer.is_conv else grad.ndim - 1
            grad_bias = grad.sum([axis for axis in range(grad.ndim) if axis != channel])
        return grad_x, None, grad_bias, None, None, *grads


@dataclass(frozen=True)
class Dense(Recomputed):
    """An update stored as it is, perhaps with one of the bias."""

    weight: Tensor
    of_bias: Annotated[Tensor, "out"] | None = None

    def bias(self) -> Tensor | None:
        return None if self.of_bias is None else self.of_bias * self.scale

    def tensors(self) -> tuple[Tensor, ...]:
        return (self.weight,)

    def matrix(self, *tensors: Tensor) -> Tensor:
        return tensors[0].reshape(self.layer.weight_shape)

    def unmatrix(self, tensors: tuple[Tensor, ...], grad: Tensor) -> tuple[Tensor, ...]:
        return (grad.reshape(tensors[0].shape),)


def sum_of(tensors: Sequence[Tensor | None]) -> Tensor | None:
    """Of those that are there, in the dtype of the first; None where none is."""
    present = [tensor for tensor in tensors if tensor is not None]
    if not present:
        return None
    total = present[0]
    for tensor in present[1:]:
        total = total + tensor.to(total.dtype)
    return total
