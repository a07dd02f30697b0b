"""The ways in which the matrices of an algorithm's formula can be stored in a file.

A *part* is a matrix of the formula, an *alternative* is one way to store it, and a *factor* is one
stored tensor, whose axis string describes its layout in the file. ``Alternative.delta`` reads the
stored tensors into one common layout: left (out, rank), right (rank, in, *kernel), core (rank,
rank, *kernel). So formulas never see transposed factors, flattened kernels or trailing 1x1 axes.
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

# Axes of a stored tensor: "out", "in" and "rank" are one dimension each; "in*k" is inputs and
# kernel in one dimension; "k" stands for all dimensions of the kernel, "1k" for as many of size 1;
# "1" is a dimension of size 1, "1conv" one that only convolutions have. Any other name is an axis
# that only one algorithm has.
KNOWN_AXES = ("out", "in", "rank", "in*k", "k", "1k", "1", "1conv")

Initialiser = Callable[[Tensor, torch.Generator], Tensor]


def normal(std: float) -> Initialiser:
    """Return an initialiser that draws from a normal distribution with mean 0."""
    return partial(_normal, std=std)  # a lambda would not pickle


def _normal(tensor: Tensor, generator: torch.Generator, std: float) -> Tensor:
    return tensor.normal_(0.0, std, generator=generator)


def zeros(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Fill a tensor with 0; an ``Initialiser``."""
    return tensor.zero_()


def ones(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Fill a tensor with 1; an ``Initialiser``."""
    return tensor.fill_(1.0)


def kaiming(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Fill a tensor as torch does for Linear and Conv: uniform within +- 1 / sqrt(fan in)."""
    bound = 1 / sqrt(tensor[0].numel())
    return tensor.uniform_(-bound, bound, generator=generator)


@dataclass(frozen=True)
class Factor:
    """One stored tensor: its key, its layout, and how it is initialised.

    Attributes:
        key: its name in a file, without the layer's prefix.
        axes: its layout: names of ``KNOWN_AXES`` and axes of the algorithm, separated by spaces.
        init: fills the tensor of a new adapter.
        zero: a new adapter has zeros here instead, so that its update is zero. With the option
            use_scalar the scalar is zero and ``init`` is used. The update must be proportional to
            this tensor.
        constant: a number that the tensor always holds, and by which this alternative is told from
            others with the same keys; such a tensor is not trained.
        whole: the tensor holds whole numbers, such as places in a matrix; it is not trained.
    """

    key: str
    axes: str
    init: Initialiser = zeros
    zero: bool = False
    constant: int | None = None
    whole: bool = False

    @property
    def trained(self) -> bool:
        """Whether the tensor is trained: most are."""
        return self.constant is None and not self.whole

    def blank(self, shape: tuple[int, ...]) -> Tensor:
        """Return a tensor of this shape to be filled from a file, on the CPU; not initialised."""
        return torch.empty(shape, dtype=torch.long if self.whole else torch.float32)

    @property
    def has_extra_axes(self) -> bool:
        """Whether some axes are the algorithm's and not in ``KNOWN_AXES``, as OFT's "blocks".

        The tensor then has exactly as many dimensions as ``axes`` has names.
        """
        return not set(self.axes.split()) <= set(KNOWN_AXES)

    def shape(
        self, layer: LayerSpec, rank: int, extra_axes: Mapping[str, int] | None = None
    ) -> tuple[int, ...]:
        """Return the shape of the tensor.

        Args:
            layer: shapes of the matrix that the factor is a part of, as those of a layer.
            rank: of the adapter.
            extra_axes: name -> size of axes that only this algorithm has.
        """
        sizes = {
            **{axis: (size,) for axis, size in (extra_axes or {}).items()},
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

    def initial(
        self,
        shape: tuple[int, ...],
        generator: torch.Generator,
        device: torch.device,
        random: bool = False,
    ) -> Tensor:
        """Return the tensor of a new adapter, in float32; on the meta device it has no numbers.

        Args:
            shape: of the tensor.
            generator: of random numbers.
            device: of the tensor.
            random: call ``init`` even if the tensor should be ``zero``.
        """
        if self.constant is not None:
            return torch.full(shape, self.constant, device=device)
        tensor = torch.empty(shape, device=device)
        if tensor.is_meta:
            return tensor
        return tensor.zero_() if self.zero and not random else self.init(tensor, generator)


Part = Delta | Tensor | None
"""A part as formulas get it: a matrix, a tensor as stored (``Raw``), or None (``Absent``)."""


class Alternative:
    """One way to store a part of a formula.

    Attributes:
        factors: the stored tensors.
        on_output: the factor on the output side of a low-rank product ("up", "B"), if there is one.
    """

    factors: tuple[Factor, ...]
    on_output: tuple[Factor, ...] = ()

    def delta(self, tensors: Mapping[str, Tensor], layer: LayerSpec) -> Part:
        """Return the part as the formula gets it.

        Args:
            tensors: key -> stored tensor; those of other parts may be among them.
            layer: shapes of the part's matrix, as those of a layer.
        """
        raise TypeError(f"{type(self).__name__} has no delta")


@dataclass(frozen=True)
class Whole(Alternative):
    """A part that is stored as the full matrix."""

    matrix: Factor

    @property
    def factors(self) -> tuple[Factor, ...]:  # type: ignore[override]
        return (self.matrix,)

    def delta(self, tensors: Mapping[str, Tensor], layer: LayerSpec) -> Dense:
        return Dense(layer, 1.0, _shaped(tensors[self.matrix.key], layer.weight_shape))


@dataclass(frozen=True)
class Raw(Alternative):
    """A part that is no matrix of the layer's shape: formulas get the tensor as it is stored."""

    tensor: Factor

    @property
    def factors(self) -> tuple[Factor, ...]:  # type: ignore[override]
        return (self.tensor,)

    def delta(self, tensors: Mapping[str, Tensor], layer: LayerSpec) -> Tensor:
        return tensors[self.tensor.key]


@dataclass(frozen=True)
class Absent(Alternative):
    """A part that is not stored: formulas get None."""

    factors: tuple[Factor, ...] = ()

    def delta(self, tensors: Mapping[str, Tensor], layer: LayerSpec) -> None:
        return None


@dataclass(frozen=True)
class Product(Alternative):
    """A part that is stored as a low-rank product, left @ right."""

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
    """A part that is stored as a Tucker decomposition: left x core x right.

    left and right mix channels, the core (rank, rank, *kernel) has the kernel; see TuckerOptions.
    """

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
        core = tensors[self.core.key]
        if not layer.kernel:  # a file for a 1x1 convolution where this model has a Linear
            return LowRank(layer, 1.0, left @ core, right)
        return LowRank(layer, 1.0, left, right, core)


@dataclass(frozen=True, init=False)
class TuckerOptions(Section):
    """The option use_tucker, for algorithms that can store convolutions with a Tucker core."""

    use_tucker: bool = option(
        False,
        "Tucker decomposition: store the adapter of a convolution larger than 1x1 as a kernel of "
        "rank x rank channels between two 1x1 convolutions, which takes fewer numbers.",
        aliases=("use_cp", "use_conv_cp"),
    )

    def wants_core(self, layer: LayerSpec) -> bool:
        """Return True if use_tucker is set and the layer is a convolution larger than 1x1."""
        return self.use_tucker and layer.is_spatial


def _left(tensor: Tensor, factor: Factor) -> Tensor:
    """Return a left factor as (out, rank), from (rank, out) or (out, rank, 1, 1)."""
    if factor.axes.startswith("rank"):
        return tensor.T
    return _shaped(tensor, tensor.shape[:2])


def _shaped(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Reshape a tensor; if its shape is right, add no node to the autograd graph."""
    return tensor if tensor.shape == shape else tensor.reshape(shape)
