"""What an algorithm is: parts that are stored, alternatives for each, and one formula."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from lycoris_ext.algorithms.parts import Alternative, Core, Factor
from lycoris_ext.errors import ConfigError
from lycoris_ext.functional import Delta, LayerSpec


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
