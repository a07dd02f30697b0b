"""In which ways a part of an algorithm's formula may be stored.

A *part* is a matrix of the formula. It lists the alternatives in which it may be stored; each is
made of ``Factor``s, whose axis string says how the tensor lies in the file. A generic reader
delivers the canonical layout (left (out, rank), right (rank, in, *kernel), core (rank, rank,
*kernel)), so that transposed factors, flattened kernels and trailing 1x1 never reach the maths.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import sqrt

import torch
from torch import Tensor

from lycoris_ext.functional import Delta, Dense, LayerSpec, LowRank
from lycoris_ext.options import Section, option

# Axes of a stored tensor: "out" "in" "rank" are one dimension each, "in*k" the input and the kernel
# in one, "k" the kernel's dimensions, "1k" as many ones, "1" a one, "1conv" a one that only
# convolutions have. Any other name is an axis of the algorithm's own.
KNOWN_AXES = ("out", "in", "rank", "in*k", "k", "1k", "1", "1conv")

Initialiser = Callable[[Tensor, torch.Generator], Tensor]


def normal(std: float) -> Initialiser:
    return partial(_normal, std=std)  # a lambda would not pickle


def _normal(tensor: Tensor, generator: torch.Generator, std: float) -> Tensor:
    return tensor.normal_(0.0, std, generator=generator)


def zeros(tensor: Tensor, generator: torch.Generator) -> Tensor:
    return tensor.zero_()


def ones(tensor: Tensor, generator: torch.Generator) -> Tensor:
    return tensor.fill_(1.0)


def kaiming(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """torch's own default for Linear and Conv: uniform within 1 / sqrt(fan in)."""
    bound = 1 / sqrt(tensor[0].numel())
    return tensor.uniform_(-bound, bound, generator=generator)


@dataclass(frozen=True)
class Factor:
    """One stored tensor.

    Attributes:
        key: its name in a file behind the layer's prefix.
        axes: its layout, see the list above.
        init: how it starts.
        zero: it starts at zero instead, so that a fresh adapter changes nothing; with
            ``use_scalar`` the scalar is the zero and this factor starts as ``init`` says. The
            update is proportional to it.
        constant: the number that it always holds, and that tells this alternative from others
            with the same keys; such a tensor is not trained.
    """

    key: str
    axes: str
    init: Initialiser = zeros
    zero: bool = False
    constant: int | None = None

    @property
    def has_own_axes(self) -> bool:
        """Whether some axes are the algorithm's own, as diag-OFT's and BOFT's blocks: then the
        tensor has just so many axes, which tells one from the other."""
        return not set(self.axes.split()) <= set(KNOWN_AXES)

    def shape(
        self, layer: LayerSpec, rank: int, own: Mapping[str, int] | None = None
    ) -> tuple[int, ...]:
        """Its sizes; ``own`` gives those of the algorithm's own axes."""
        sizes = {
            **{axis: (size,) for axis, size in (own or {}).items()},
            "1": (1,),
            "1conv": (1,) if layer.kernel else (),
            "out": (layer.out_features,),
            "in": (layer.in_features,),
            "rank": (rank,),
            "k": layer.kernel,
            "1k": (1,) * len(layer.kernel),
            "in*k": (layer.fan_in,),
        }
        return tuple(size for axis in self.axes.split() for size in sizes[axis])


Part = Delta | Tensor | None
"""A matrix of the formula, a plain tensor (``Raw``), or nothing (``Absent``)."""


class Alternative:
    """One way to store a part. Subclasses know their factors' roles.

    Attributes:
        factors: what is stored.
        on_output: those of them that make outputs from a rank: the "up" or "B" of a product.
    """

    factors: tuple[Factor, ...]
    on_output: tuple[Factor, ...] = ()

    def delta(self, tensors: Mapping[str, Tensor], layer: LayerSpec) -> Part:
        """What the formula is given for this part."""
        raise TypeError(f"{type(self).__name__} has no delta")


@dataclass(frozen=True)
class Whole(Alternative):
    """The matrix itself."""

    matrix: Factor

    @property
    def factors(self) -> tuple[Factor, ...]:  # type: ignore[override]
        return (self.matrix,)

    def delta(self, tensors: Mapping[str, Tensor], layer: LayerSpec) -> Dense:
        return Dense(layer, 1.0, _shaped(tensors[self.matrix.key], layer.weight_shape))


@dataclass(frozen=True)
class Raw(Alternative):
    """A tensor that is no matrix of the layer: the formula takes it as it lies in the file."""

    tensor: Factor

    @property
    def factors(self) -> tuple[Factor, ...]:  # type: ignore[override]
        return (self.tensor,)

    def delta(self, tensors: Mapping[str, Tensor], layer: LayerSpec) -> Tensor:
        return tensors[self.tensor.key]


@dataclass(frozen=True)
class Absent(Alternative):
    """A part that is not there."""

    factors: tuple[Factor, ...] = ()

    def delta(self, tensors: Mapping[str, Tensor], layer: LayerSpec) -> None:
        return None


@dataclass(frozen=True)
class Product(Alternative):
    """left @ right"""

    left: Factor
    right: Factor

    @property
    def factors(self) -> tuple[Factor, ...]:  # type: ignore[override]
        return (self.left, self.right)

    @property
    def on_output(self) -> tuple[Factor, ...]:  # type: ignore[override]
        return (self.left,) if "out" in self.left.axes.split() else ()

    def delta(self, tensors: Mapping[str, Tensor], layer: LayerSpec) -> LowRank:
        left = _left(tensors[self.left.key], self.left)
        right = tensors[self.right.key]  # (rank, in, *kernel), perhaps flattened
        right = _shaped(right, (len(right), layer.in_features, *layer.kernel))
        return LowRank(layer, 1.0, left, right)


@dataclass(frozen=True)
class Core(Alternative):
    """left x core x right: a kernel between two channel mixes (Tucker); see TuckerOptions."""

    left: Factor
    core: Factor
    right: Factor

    @property
    def factors(self) -> tuple[Factor, ...]:  # type: ignore[override]
        return (self.left, self.core, self.right)

    @property
    def on_output(self) -> tuple[Factor, ...]:  # type: ignore[override]
        return (self.left,) if "out" in self.left.axes.split() else ()

    def delta(self, tensors: Mapping[str, Tensor], layer: LayerSpec) -> LowRank:
        left = _left(tensors[self.left.key], self.left)
        right = tensors[self.right.key]
        right = _shaped(right, (len(right), layer.in_features))
        return LowRank(layer, 1.0, left, right, tensors[self.core.key])


@dataclass(frozen=True, init=False)
class TuckerOptions(Section):
    """Whether kernels are stored with a core; for the algorithms that can."""

    use_tucker: bool = option(
        False,
        "Store the adapter of a convolution larger than 1x1 as a small kernel between two mixes of "
        "channels (Tucker decomposition), which takes fewer numbers.",
        aliases=("use_cp", "use_conv_cp"),
    )

    def wants_core(self, layer: LayerSpec) -> bool:
        """Whether a layer gets one: it is asked for, and the kernel has something to factor."""
        return self.use_tucker and layer.is_spatial


def _left(tensor: Tensor, factor: Factor) -> Tensor:
    """(out, rank), from (rank, out) or (out, rank, 1, 1)."""
    if factor.axes.startswith("rank"):
        return tensor.T
    return _shaped(tensor, tensor.shape[:2])


def _shaped(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Reshaped, without a node in the graph where nothing changes."""
    return tensor if tensor.shape == shape else tensor.reshape(shape)
