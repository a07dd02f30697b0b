"""The update of one weight, kept as the factors it is made of, and all that is computed from it.

An algorithm returns a ``Delta``. The layer's output, the merged weight and the norm are all
computed from that one object, so that they agree for every algorithm.

Three paths lead to the same output (cost model and derivation: docs/algorithms/loha.md):

    chain    base(x) + up(core(down(x)))      never builds an (out, in) matrix
    dense    base(x) + op(x, delta)           safe for a base in low precision or a foreign class
    merged   op(x, base_weight + delta)       one product, if the base weight is float32
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

# What building W + delta costs in passes over memory, as the number of positions for which the
# base layer's product takes as long.
# Measured crossovers lie between 60 and 240 on a CPU; inside that band both paths cost the same.
_PASSES_IN_TOKENS = 120


@dataclass(frozen=True)
class Delta(ABC):
    """An update of a weight of shape ``layer.weight_shape``.

    Attributes:
        layer: the layer whose weight is updated.
        scale: the one factor of the update, alpha / rank and strength included: a number, or a
            tensor of shape () or (out,). Every method below applies it unless it says otherwise.
    """

    layer: LayerSpec
    scale: Scale

    def scaled(self: Self, factor: Scale) -> Self:
        """Return this update multiplied by a number or by a tensor of shape () or (out,)."""
        # A method rather than ``*``: torch.compile takes a tensor times anything for a tensor.
        return replace(self, scale=self.scale * factor)

    @abstractmethod
    def dense(self) -> Annotated[Tensor, "out ..."]:
        """Build the scaled update as a tensor of shape ``layer.weight_shape``."""

    def merged(self, weight: Annotated[Tensor, "out *rest"]) -> Annotated[Tensor, "out *rest"]:
        """Return weight + delta, in the weight's dtype."""
        return weight + self.dense().to(weight.dtype)

    def bias(self) -> Annotated[Tensor, "out"] | None:
        """Return the scaled update of the layer's bias, (out,), or None if it has none."""
        return None

    def rows(self: Self, rows: slice) -> Self | None:
        """Return the update of these output channels alone, or None if it cannot be sliced."""
        return None

    def thin_cost(self) -> int | None:
        """Return the multiplications per output position of the path "chain", or None if this
        update has no such path."""
        return None

    def only_thin(self) -> bool:
        """Return True if only "chain" works, because ``dense`` would read a quantised weight."""
        return False

    def build_cost(self) -> int:
        """Return the multiplications that ``dense`` takes for each number of its result."""
        return 0

    def norm(self) -> Annotated[Tensor, ""]:
        """Return the Frobenius norm of the scaled update as a tensor of shape ().

        Subclasses compute it from the factors if that is cheaper than building ``dense``.
        """
        return self.dense().square().sum().sqrt()

    def apply_thin(self, x: Tensor, base_out: Tensor | None) -> Tensor:
        """Do what ``apply`` does on the path "chain", without building an (out, in) matrix."""
        raise ShapeError(f"{type(self).__name__} has no thin form")  # thin_cost() is None

    def built(self) -> tuple[Tensor, ...]:
        """Compute the unscaled thin factors that "chain" derives from the trained tensors.

        They do not depend on the input, so the batches of one optimizer step can share them. Empty
        if the trained tensors are the thin factors already.
        """
        return ()

    def with_built(self: Self, tensors: tuple[Tensor, ...]) -> Self:
        """Return a copy whose path "chain" uses these factors instead of computing them.

        Args:
            tensors: what ``built()`` returned. Autograd puts the gradients of "chain" on them; the
                other paths, merging and export still use the trained tensors.
        """
        raise ShapeError(f"{type(self).__name__} builds nothing")  # built() is ()

    def apply(self, x: Tensor, base_out: Tensor | None, path: str) -> Tensor:
        """Return base_out + delta(x), or delta(x) alone if base_out is None.

        Args:
            x: the layer's input, (..., in) or (batch, in, *spatial), after ``layer.pad``.
            base_out: the output of the frozen layer for x, perhaps with other updates added; the
                result has its dtype.
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
        """Return the adapted layer's output as one product with weight + delta.

        Args:
            x: the layer's input, after ``layer.pad``.
            weight: the frozen weight, ``layer.weight_shape``.
            bias: the frozen bias, (out,), or None.
        """
        return self.layer.op(x, self.merged(weight), sum_of([bias, self.bias()]))

    def cheapest(self, tokens: int, can_merge: bool) -> str:
        """Choose the path that makes a training step cheapest.

        Args:
            tokens: output positions of the batch, see ``LayerSpec.tokens``.
            can_merge: whether the path "merged" is allowed.

        Returns:
            "chain", "dense" or "merged".
        """
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
        """Restrict layer and scale to some output channels."""
        count = len(range(self.layer.out_features)[rows])
        scale = self.scale
        if torch.is_tensor(scale) and scale.ndim:
            scale = scale[rows]
        return replace(self.layer, out_features=count), scale

    def _has_row_scale(self) -> bool:
        """Return True if the scale is a tensor with one number for each output channel."""
        return torch.is_tensor(self.scale) and self.scale.ndim == 1

    def _over_positions(self, dtype: torch.dtype) -> Scale:
        """Return the scale, shaped to broadcast over an output of the layer."""
        scale = self.scale
        if not torch.is_tensor(scale):
            return scale
        return (self.layer.over_positions(scale) if scale.ndim else scale).to(dtype)

    def _row_scale(self, trailing: int) -> Scale:
        """Return the scale, shaped to broadcast over (out, ...) with ``trailing`` more axes."""
        if torch.is_tensor(self.scale) and self.scale.ndim == 1:
            return self.scale.reshape(-1, *[1] * trailing)
        return self.scale


class Recomputed(Delta):
    """An update that depends on its trained tensors alone.

    Its backward pass saves only these and computes their products again, which takes less memory.
    """

    @abstractmethod
    def tensors(self) -> tuple[Tensor, ...]:
        """Return the trained tensors, in the order that ``matrix`` and ``unmatrix`` take them."""

    @abstractmethod
    def matrix(self, *tensors: Tensor) -> Annotated[Tensor, "out ..."]:
        """Compute the unscaled update, ``layer.weight_shape``, from the trained tensors."""

    @abstractmethod
    def unmatrix(self, tensors: tuple[Tensor, ...], grad: Tensor) -> tuple[Tensor, ...]:
        """Turn the gradient of ``matrix`` into the gradients of the trained tensors."""

    def dense(self) -> Tensor:
        return self.matrix(*self.tensors()) * self._row_scale(1 + len(self.layer.kernel))

    def sum_sq(self) -> Annotated[Tensor, ""]:
        """Return the squared Frobenius norm of the unscaled update, a tensor of shape ()."""
        return self.matrix(*self.tensors()).square().sum()

    def norm(self) -> Tensor:
        if self._has_row_scale():
            return super().norm()
        return (self.sum_sq().clamp_min(0.0).sqrt() * self.scale).abs()

    def apply_merged(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return op(x, weight + delta, bias); the backward pass computes the sum again."""
        if torch.is_tensor(self.scale):
            return super().apply_merged(x, weight, bias)
        bias = sum_of([bias, self.bias()])
        arguments = (x, weight, bias, self.scale, self, *self.tensors())
        out: Tensor = MergedApply.apply(*arguments)
        return out


class MergedApply(torch.autograd.Function):
    """op(x, weight + scale * matrix), computing that sum again in the backward pass.

    Keeps x, the frozen weight and the trained tensors. The weight gets no gradient.
    """

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
    """An update whose trained tensor is the whole (out, in, *kernel) difference.

    Attributes:
        weight: as many numbers as ``layer.weight_shape`` has.
        of_bias: the update of the bias, or None.
    """

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
    """Return the sum of those tensors that are not None, in the first one's dtype.

    None if all are None.
    """
    present = [tensor for tensor in tensors if tensor is not None]
    if not present:
        return None
    total = present[0]
    for tensor in present[1:]:
        total = total + tensor.to(total.dtype)
    return total
