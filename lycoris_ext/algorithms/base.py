"""What an algorithm is: parts that are stored, alternatives for each, and one formula.

A *part* is a matrix of the formula. It lists the alternatives in which it may be stored; each is
made of ``Factor``s, whose axis string says how the tensor lies in the file. A generic reader
delivers the canonical layout (left (out, rank), right (rank, in, *kernel), core (rank, rank,
*kernel)), so that transposed factors, flattened kernels and trailing 1x1 never reach the maths.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from math import prod, sqrt
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from lycoris_ext.errors import ConfigError, FormatError
from lycoris_ext.functional import Delta, Dense, LayerSpec, LowRank

# Axes of a stored tensor: "out" "in" "rank" are one dimension each, "k" the kernel's dimensions,
# "1k" as many ones, "in*k" the input and the kernel in one dimension.
_SCALAR_AXES = ("out", "in", "rank", "in*k")

Initialiser = Callable[[Tensor, torch.Generator], Tensor]


def normal(std: float) -> Initialiser:
    return partial(_normal, std=std)  # a lambda would not pickle


def _normal(tensor: Tensor, generator: torch.Generator, std: float) -> Tensor:
    return tensor.normal_(0.0, std, generator=generator)


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
            ``use_scalar`` the scalar is the zero and this factor starts as ``init`` says.
    """

    key: str
    axes: str
    init: Initialiser
    zero: bool = False

    def shape(self, layer: LayerSpec, rank: int) -> tuple[int, ...]:
        sizes = {
            "out": (layer.out_features,),
            "in": (layer.in_features,),
            "rank": (rank,),
            "k": layer.kernel,
            "1k": (1,) * len(layer.kernel),
            "in*k": (layer.fan_in,),
        }
        return tuple(size for axis in self.axes.split() for size in sizes[axis])


class Alternative:
    """One way to store a part. Subclasses know their factors' roles."""

    factors: tuple[Factor, ...]

    def delta(self, tensors: Mapping[str, Tensor], layer: LayerSpec) -> Delta:
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
class Product(Alternative):
    """left @ right"""

    left: Factor
    right: Factor

    @property
    def factors(self) -> tuple[Factor, ...]:  # type: ignore[override]
        return (self.left, self.right)

    def delta(self, tensors: Mapping[str, Tensor], layer: LayerSpec) -> LowRank:
        left = _left(tensors[self.left.key], self.left)
        right = tensors[self.right.key]  # (rank, in, *kernel), perhaps flattened
        right = _shaped(right, (len(right), layer.in_features, *layer.kernel))
        return LowRank(layer, 1.0, left, right)


@dataclass(frozen=True)
class Core(Alternative):
    """left x core x right: a kernel between two channel mixes (Tucker)."""

    left: Factor
    core: Factor
    right: Factor

    @property
    def factors(self) -> tuple[Factor, ...]:  # type: ignore[override]
        return (self.left, self.core, self.right)

    def delta(self, tensors: Mapping[str, Tensor], layer: LayerSpec) -> LowRank:
        left = _left(tensors[self.left.key], self.left)
        right = tensors[self.right.key]
        right = _shaped(right, (len(right), layer.in_features))
        return LowRank(layer, 1.0, left, right, tensors[self.core.key])


def _left(tensor: Tensor, factor: Factor) -> Tensor:
    """(out, rank), from (rank, out) or (out, rank, 1, 1)."""
    if factor.axes.startswith("rank"):
        return tensor.T
    return _shaped(tensor, tensor.shape[:2])


def _shaped(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Reshaped, without a node in the graph where nothing changes."""
    return tensor if tensor.shape == shape else tensor.reshape(shape)


@dataclass(frozen=True)
class Options:
    """What decides how an algorithm stores its parts; each reads what concerns it.

    Attributes:
        use_tucker: kernels larger than 1x1 get a core of their own.
        factor: how LoKr splits widths, see ``factorization``.
        unbalanced_factorization: LoKr gives the larger part of the outputs to its first factor.
        decompose_both: LoKr stores its first factor as a product too, where that is smaller.
        full_matrix: LoKr stores both factors as they are.
    """

    use_tucker: bool = False
    factor: int = -1
    unbalanced_factorization: bool = False
    decompose_both: bool = False
    full_matrix: bool = False


Sizes = dict[str, int]
"""Symbolic axes, solved: {"out": 320, "in": 640, "rank": 8}."""


class Algorithm:
    """Base of every algorithm: a table of parts and one formula.

    Attributes:
        name: id in configs.
        parts: for each part of the formula, the alternatives in which it may be stored.
        splits: each part has an "out" and an "in" of its own, smaller than the layer's.
    """

    name: ClassVar[str]
    parts: ClassVar[dict[str, tuple[Alternative, ...]]]
    splits: ClassVar[bool] = False

    @classmethod
    def plan(cls, layer: LayerSpec, rank: int, alpha: float, options: Options) -> Plan:
        """How a new adapter of this layer is stored: the core where it is asked for and the
        kernel has something to factor."""
        core = int(options.use_tucker and layer.is_spatial)
        return Plan(cls, layer, (core,) * len(cls.parts), rank, alpha, (layer,) * len(cls.parts))

    @classmethod
    def allows(cls, chosen: tuple[int, ...]) -> bool:
        """Whether these alternatives of the parts can stand side by side."""
        return True

    @classmethod
    def spaces(cls, layer: LayerSpec, sizes: tuple[Sizes, ...]) -> tuple[LayerSpec, ...]:
        """The layer that each part stands for, from its solved axes."""
        return (layer,) * len(sizes)

    @classmethod
    def delta(cls, parts: Mapping[str, Delta], layer: LayerSpec, scale: float) -> Delta:
        """The formula: the parts, canonical, to the update."""
        raise TypeError(f"{cls.__name__} has no formula")


_REGISTRY: dict[str, type[Algorithm]] = {}
AlgorithmClass = TypeVar("AlgorithmClass", bound=type[Algorithm])


def register(cls: AlgorithmClass) -> AlgorithmClass:
    """Class decorator: make the algorithm known by its name."""
    _REGISTRY[cls.name] = cls
    return cls


def algorithm_names() -> list[str]:
    return sorted(_REGISTRY)


def algorithm(name: str) -> type[Algorithm]:
    """Raises ConfigError, with the known names, for an unknown one."""
    if name not in _REGISTRY:
        raise ConfigError(
            f"unknown algorithm {name!r}", where="algo", fix=f"use one of {algorithm_names()}"
        )
    return _REGISTRY[name]


@dataclass(frozen=True)
class Plan:
    """How one layer is adapted; comes equally from options and from a file.

    Attributes:
        chosen: index of the alternative of each part.
        rank: 0 where a file does not tell it, since no stored tensor has that axis.
        alpha: as a file stores it.
        spaces: the layer that each part stands for.
    """

    algorithm: type[Algorithm]
    layer: LayerSpec
    chosen: tuple[int, ...]
    rank: int
    alpha: float
    spaces: tuple[LayerSpec, ...]

    @cached_property
    def scale(self) -> float:
        """alpha / rank; 1 where nothing that is stored has a rank."""
        return self.alpha / self.rank if self.has_rank else 1.0

    @property
    def has_rank(self) -> bool:
        return any("rank" in factor.axes.split() for factor in self.factors())

    @property
    def uses_core(self) -> bool:
        return any(isinstance(part, Core) for _, part, _ in self._stored)

    def factors(self) -> tuple[Factor, ...]:
        return tuple(factor for _, part, _ in self._stored for factor in part.factors)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each stored tensor by its key."""
        return {
            factor.key: factor.shape(space, self.rank)
            for _, part, space in self._stored
            for factor in part.factors
        }

    def delta(self, tensors: Mapping[str, Tensor]) -> Delta:
        """The update, scaled by alpha / rank, from the stored tensors."""
        parts = {name: part.delta(tensors, space) for name, part, space in self._stored}
        return self.algorithm.delta(parts, self.layer, self.scale)

    def initial(
        self, generator: torch.Generator, use_scalar: bool, device: torch.device
    ) -> dict[str, Tensor]:
        """Fresh float32 tensors whose update is zero (with ``use_scalar``: times a zero scalar)."""
        tensors, shapes = {}, self.shapes()
        for factor in self.factors():
            tensor = torch.empty(shapes[factor.key], device=device)
            if tensor.is_meta:
                pass  # only shapes are asked for
            elif factor.zero and not use_scalar:
                tensor.zero_()
            else:
                factor.init(tensor, generator)
            tensors[factor.key] = tensor
        return tensors

    @cached_property
    def _stored(self) -> tuple[tuple[str, Alternative, LayerSpec], ...]:
        """(name, chosen alternative, space) of each part."""
        parts = self.algorithm.parts
        return tuple(
            (name, parts[name][i], space)
            for name, i, space in zip(parts, self.chosen, self.spaces, strict=True)
        )


def detect(tensors: Mapping[str, Tensor], where: str, layer: LayerSpec | None = None) -> Plan:
    """Which algorithm stored these tensors of one layer, and how.

    The key set must be one algorithm's exactly; then symbolic axes are unified with real shapes.

    Args:
        tensors: by their keys behind the layer's prefix, ``alpha`` among them or not.
        where: the layer's name, for messages.
        layer: the layer they belong to; without it the plan's layer is what the shapes tell.

    Raises:
        FormatError: no algorithm stores these keys, or the shapes contradict each other or the
            layer.
    """
    keys = {key for key in tensors if key != "alpha"}
    for candidate in _REGISTRY.values():
        for chosen in _selections(candidate):
            stored = [part[i] for part, i in zip(candidate.parts.values(), chosen, strict=True)]
            if {factor.key for part in stored for factor in part.factors} == keys:
                return _unify(candidate, chosen, stored, tensors, where, layer)
    raise FormatError(
        f"no algorithm stores the keys {sorted(keys)}",
        where=where,
        fix="the file is incomplete, or of an algorithm that this version does not know",
    )


def _selections(candidate: type[Algorithm]) -> list[tuple[int, ...]]:
    selections: list[tuple[int, ...]] = [()]
    for alternatives in candidate.parts.values():
        selections = [(*head, i) for head in selections for i in range(len(alternatives))]
    return [chosen for chosen in selections if candidate.allows(chosen)]


def _unify(
    candidate: type[Algorithm],
    chosen: tuple[int, ...],
    stored: list[Alternative],
    tensors: Mapping[str, Tensor],
    where: str,
    layer: LayerSpec | None,
) -> Plan:
    """Solve the axes for rank (and layer sizes); every tensor must agree with the solution."""
    shared: Sizes = {}
    sizes: list[Sizes] = []
    kernel: tuple[int, ...] = ()
    for part in stored:
        own: Sizes = {} if candidate.splits else shared
        if "rank" in shared:
            own["rank"] = shared["rank"]
        for factor in part.factors:
            kernel = _solve(factor, tuple(tensors[factor.key].shape), own, where) or kernel
        if "rank" in own:
            shared["rank"] = own["rank"]
        sizes.append(own)
    rank = shared.get("rank", 0)
    if rank < 1 and any("rank" in own for own in sizes):
        raise FormatError("rank 0", where=where, fix="the file is damaged")
    if layer is None:
        layer = _layer(sizes if candidate.splits else sizes[:1], kernel)
    alpha = tensors.get("alpha")
    plan = Plan(
        candidate,
        layer,
        chosen,
        rank,
        rank if alpha is None else float(alpha),
        candidate.spaces(layer, tuple(sizes)),
    )
    for key, expected in plan.shapes().items():
        found = tuple(tensors[key].shape)
        if prod(found) != prod(expected) or _squeezed(found) != _squeezed(expected):
            raise FormatError(
                f"{key} has shape {found}, the layer needs {expected}",
                where=where,
                fix="the adapter was trained on another model family or another layer",
            )
    return plan


def _solve(factor: Factor, shape: tuple[int, ...], sizes: Sizes, where: str) -> tuple[int, ...]:
    """Add what one tensor's shape says about the axes; returns the kernel if it has one."""
    axes = factor.axes.split()
    scalars = [axis for axis in axes if axis in _SCALAR_AXES]
    if len(shape) < len(scalars) or (len(shape) > len(scalars) and len(scalars) == len(axes)):
        raise FormatError(
            f"{factor.key} has shape {shape}, expected axes ({factor.axes})", where=where
        )
    for axis, size in zip(scalars, shape, strict=False):
        if sizes.setdefault(axis, size) != size:
            raise FormatError(
                f"{factor.key} of shape {shape} says {axis} = {size}, "
                f"other tensors of the layer say {sizes[axis]}",
                where=where,
                fix="the file mixes two adapters or is damaged",
            )
    return shape[len(scalars) :] if axes[-1] == "k" else ()


def _layer(sizes: list[Sizes], kernel: tuple[int, ...]) -> LayerSpec:
    """The layer as far as shapes tell it: a kernel that is stored flat counts as width."""
    out = prod(own["out"] for own in sizes)
    width = prod(own.get("in", own.get("in*k", 0)) for own in sizes)
    ones = (1,) * len(kernel)
    return LayerSpec(out, width, kernel, ones, ones, ones)


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A 1x1 conv and a Linear store the same numbers; only trailing ones differ."""
    return tuple(size for size in shape if size != 1)
