"""The shapes of a Linear or Conv layer, and what such a layer computes with any weight."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lycoris_ext.errors import ShapeError
from lycoris_ext.functional import product, unfolded_conv

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_CLASSES = (nn.Conv1d, nn.Conv2d, nn.Conv3d)

PLAIN = (Tensor, nn.Parameter)
"""Exact types of a weight that holds its own numbers: quantised weights are subclasses of them."""

_ADDABLE = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class LayerSpec:
    """Shapes and geometry of a Linear (empty kernel) or Conv1d/2d/3d layer, without its numbers.

    Attributes:
        out_features: output channels.
        in_features: input channels that one output channel reads: in_channels / groups.
        kernel: kernel size, () for Linear; stride, padding and dilation are as long.
        pre_pad: argument of F.pad for padding that a conv cannot do itself (asymmetric "same",
            reflect, replicate, circular); empty if ``padding`` is enough.
        has_bias: whether the layer has a bias, which an update may change, too.
    """

    out_features: int
    in_features: int
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    pre_pad: tuple[int, ...] = ()
    pre_pad_mode: str = "constant"
    has_bias: bool = False

    @staticmethod
    def supports(module: nn.Module) -> bool:
        """Return True for Linear and Conv1d/2d/3d and their subclasses, not for transposed convs.

        Also True for other libraries' Linear classes (weight-only fp8) that have ``in_features``
        and ``out_features`` as torch's has.
        """
        return isinstance(module, (nn.Linear, *_CONV_CLASSES)) or _is_foreign_linear(module)

    @classmethod
    def from_module(cls, module: nn.Module) -> LayerSpec:
        """Read the shapes of a Linear or Conv module.

        Raises:
            ShapeError: the module is neither.
        """
        if isinstance(module, nn.Linear) or _is_foreign_linear(module):
            # Never the weight's shape: a quantised one is packed.
            outputs, inputs = int(module.out_features), int(module.in_features)  # type: ignore[arg-type]
            return cls(outputs, inputs, has_bias=getattr(module, "bias", None) is not None)
        if not isinstance(module, _CONV_CLASSES):
            raise ShapeError(
                f"{type(module).__name__} is neither Linear nor Conv1d/2d/3d",
                fix="choose other target layers",
            )
        both_sides = tuple(module._reversed_padding_repeated_twice)
        symmetric = all(a == b for a, b in zip(both_sides[::2], both_sides[1::2], strict=True))
        native = module.padding_mode == "zeros" and symmetric
        return cls(
            out_features=module.out_channels,
            in_features=module.in_channels // module.groups,
            kernel=tuple(module.kernel_size),
            stride=tuple(module.stride),
            padding=tuple(reversed(both_sides[::2])) if native else (0,) * len(module.kernel_size),
            dilation=tuple(module.dilation),
            groups=module.groups,
            pre_pad=() if native else both_sides,
            pre_pad_mode="constant" if module.padding_mode == "zeros" else module.padding_mode,
            has_bias=module.bias is not None,
        )

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weight: (out, in / groups, *kernel)."""
        return (self.out_features, self.in_features, *self.kernel)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape in which the module stores its weight."""
        return self.weight_shape

    def outputs_first(self, stored: Tensor) -> Tensor:
        """Return a weight as the module stores it in ``weight_shape``."""
        return stored

    def as_stored(self, update: Tensor) -> Tensor:
        """Return an update of ``weight_shape`` as what is added to the module's own weight."""
        return update

    def holds(self, weight: object) -> bool:
        """Return True if ``weight`` is a float tensor of ``stored_shape``, not a quantised one.

        Only to such a weight can an update be added.
        """
        return (
            isinstance(weight, Tensor)
            and type(weight) in PLAIN
            and weight.dtype in _ADDABLE
            and weight.shape == self.stored_shape
        )

    @property
    def fan_in(self) -> int:
        """Columns of the weight seen as a matrix: in / groups * kernel area."""
        return self.in_features * prod(self.kernel)

    @property
    def is_conv(self) -> bool:
        return bool(self.kernel)

    @property
    def is_norm(self) -> bool:
        """True for a normalisation (``NormSpec``), whose weight is no matrix."""
        return False

    @property
    def has_op(self) -> bool:
        """False for layers that ``op`` cannot compute: only their own forward can, and they are
        adapted only if an option names them (``InputsFirst``)."""
        return True

    @property
    def is_spatial(self) -> bool:
        """True for convolutions with a kernel larger than 1x1, whose rank is ``conv_dim``."""
        return any(side != 1 for side in self.kernel)

    def pad(self, x: Tensor) -> Tensor:
        """Add the padding that ``op`` cannot do itself; zero padding is left to ``op``."""
        return F.pad(x, self.pre_pad, mode=self.pre_pad_mode) if self.pre_pad else x

    def op(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Compute what a layer of this geometry returns for another weight and bias.

        Args:
            x: (..., in) for Linear, (batch, in, *spatial) for Conv; after ``pad``.
            weight: (out, in / groups, *kernel) with any number of output channels.
            bias: (out,), or None.

        Returns:
            (..., out) for Linear, (batch, out, *spatial) for Conv.
        """
        if not self.is_conv:
            return product.linear(x, weight, bias)
        if unfolded_conv.applies(self, x, weight):
            return unfolded_conv.forward(self, x, weight, bias)
        conv = _CONV[len(self.kernel)]
        return conv(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def op_backward(
        self, grad: Tensor, x: Tensor, weight: Tensor, need_x: bool = True
    ) -> tuple[Tensor | None, Tensor]:
        """Compute the gradients of ``op``.

        Args:
            grad: of the output.
            x, weight: as they were given to ``op``.
            need_x: whether the input's gradient is wanted.

        Returns:
            Gradients of x (None unless wanted) and of the weight.
        """
        if self.is_conv:
            if unfolded_conv.applies(self, x, weight):
                return unfolded_conv.backward(self, grad, x, weight, need_x)
            grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
                grad, x, weight, None, self.stride, self.padding, self.dilation,
                False, [0] * len(self.kernel), self.groups, [need_x, True, False],
            )  # fmt: skip
            return grad_x, grad_weight
        grad_weight = product.mm(grad.flatten(0, -2).T, x.flatten(0, -2))
        return product.linear(grad, weight.T) if need_x else None, grad_weight

    def over_positions(
        self, channels: Annotated[Tensor, "channels"]
    ) -> Annotated[Tensor, "channels ..."]:
        """Reshape (channels,) so that it broadcasts over an input or output of this layer."""
        return channels.reshape(-1, *[1] * len(self.kernel))

    def tokens(self, x: Tensor) -> int:
        """Count the positions that one call computes, over the whole batch.

        Rows of the input for Linear, output positions for Conv.
        """
        if not self.is_conv:
            return x.numel() // max(x.shape[-1], 1)
        return int(x.shape[0]) * prod(self.positions(x))

    def positions(self, x: Tensor) -> tuple[int, ...]:
        """Return the spatial sides of a Conv's output for the input x: (height, width) in 2d."""
        return tuple(
            (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
            for size, pad, dilation, kernel, stride in zip(
                x.shape[2:], self.padding, self.dilation, self.kernel, self.stride, strict=True
            )
        )


def _is_foreign_linear(module: nn.Module) -> bool:
    widths = (getattr(module, "out_features", None), getattr(module, "in_features", None))
    return (
        type(module).__name__.endswith("Linear")
        and all(isinstance(width, int) for width in widths)
        and next(module.children(), None) is None  # PEFT wraps a Linear, which is found by itself
    )


def mix_channels(x: Tensor, weight: Annotated[Tensor, "m k"], conv: bool) -> Tensor:
    """Multiply the channels of every position by one matrix, as a Linear or a 1x1 conv does.

    Args:
        x: (..., k), or (batch, k, *spatial) if ``conv``.
        weight: (m, k).

    Returns:
        (..., m), or (batch, m, *spatial).
    """
    if not conv:
        return product.linear(x, weight)
    spatial = x.shape[2:]
    if x.is_contiguous():  # a plain product; channels_last inputs keep their layout below
        mixed: Tensor = product.mix(weight, x.flatten(2)).unflatten(2, spatial)
        return mixed
    out: Tensor = _CONV[len(spatial)](x, weight.reshape(*weight.shape, *[1] * len(spatial)))
    return out
