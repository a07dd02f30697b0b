"""What an algorithm is: parts that are stored, alternatives for each, and one formula."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from lycoris_ext.algorithms import dora
from lycoris_ext.algorithms.parts import Alternative, Core, Factor, Part, TuckerOptions
from lycoris_ext.errors import ConfigError
from lycoris_ext.functional import Delta, Dora, FrozenLayer, LayerSpec
from lycoris_ext.options import Option, Section, options_of

Sizes = dict[str, int]
"""Symbolic axes, solved: {"out": 320, "in": 640, "rank": 8}."""


class Algorithm:
    """Base of every algorithm: a table of parts and one formula.

    Attributes:
        name: id in configs.
        Options: the options that it reads; any other is refused. DoRA's among them: DoRA may be put
            around it.
        parts: for each part of the formula, the alternatives in which it may be stored.
        splits: each part has an "out" and an "in" of its own, smaller than the layer's.
        needs_base: the formula reads the frozen layer.
        needs_base_weight: it reads the layer's weight itself, which a quantised layer has packed.
        takes_timesteps: in training the update depends on the samples' timesteps.
        stores_alpha: a file holds an alpha for each layer.
        adds: the update is the sum of its stored tensors (of weight and bias), not a product.
        of_norms: it is for normalisations, and only for them.
        split_by: the option that says how the outputs are split; empty where they are not.
        trains: the name of the algorithm whose files it trains; empty where it has its own.
        fixed: LyCORIS's options of it that have one value here, and that value.
    """

    name: ClassVar[str]
    Options: ClassVar[type[Section]] = Section
    parts: ClassVar[dict[str, tuple[Alternative, ...]]]
    splits: ClassVar[bool] = False
    needs_base: ClassVar[bool] = False
    needs_base_weight: ClassVar[bool] = False
    takes_timesteps: ClassVar[bool] = False
    stores_alpha: ClassVar[bool] = True
    adds: ClassVar[bool] = False
    of_norms: ClassVar[bool] = False
    split_by: ClassVar[str] = ""
    trains: ClassVar[str] = ""
    fixed: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def reads(cls, option: str) -> bool:
        """Whether an option of this name makes a difference."""
        return option in cls.Options.options()

    @classmethod
    def plan(
        cls, layer: LayerSpec, rank: int, alpha: float, options: Section | None = None
    ) -> Plan:
        """How a new adapter of this layer is stored.

        Args:
            options: of the class ``Options``; None: its defaults.

        Raises:
            ConfigError: the layer cannot be adapted so.
        """
        options = cls.Options() if options is None else options
        plan = cls.choose(layer, rank, alpha, options)
        if isinstance(options, dora.DoraOptions) and options.dora_wd:
            return replace(plan, dora=dora.AXES[options.wd_on_output])
        return plan

    @classmethod
    def choose(cls, layer: LayerSpec, rank: int, alpha: float, options: Any) -> Plan:
        """Which alternative of each part is stored; ``options`` are of the class ``Options``.

        Unless an algorithm says otherwise it is the first one, or the second, with a core, where
        ``use_tucker`` asks for it.
        """
        core = int(isinstance(options, TuckerOptions) and options.wants_core(layer))
        return Plan(cls, layer, (core,) * len(cls.parts), rank, alpha, (layer,) * len(cls.parts))

    @classmethod
    def useful_rank(cls, plan: Plan) -> int | None:
        """The rank beyond which no stored product can say more; None where there is no product."""
        spaces = plan.spaces_of_products
        return max((min(space.out_features, space.fan_in) for space in spaces), default=None)

    @classmethod
    def allows(cls, chosen: tuple[int, ...]) -> bool:
        """Whether these alternatives of the parts can stand side by side."""
        return True

    @classmethod
    def spaces(cls, layer: LayerSpec, sizes: tuple[Sizes, ...]) -> tuple[LayerSpec, ...]:
        """The layer that each part stands for, from its solved axes."""
        return (layer,) * len(sizes)

    @classmethod
    def widths(cls, sizes: tuple[Sizes, ...]) -> tuple[int, int]:
        """Outputs and inputs of the layer, as far as the solved axes of the parts tell them, else
        0; an input that is stored with its kernel counts as one width."""
        told = sizes if cls.splits else sizes[:1]
        out = prod(own.get("out", 0) for own in told)
        return out, prod(own.get("in", own.get("in*k", 0)) for own in told)

    @classmethod
    def flaw(cls, sizes: tuple[Sizes, ...]) -> str | None:
        """What is wrong with the solved axes of the parts, whatever the layer; None: nothing."""
        return None

    @classmethod
    def told(cls, plan: Plan) -> dict[str, Any]:
        """The options that a plan tells by itself, where they are no defaults."""
        return {"use_tucker": True} if plan.uses_core else {}

    @classmethod
    def splits_so(cls, plan: Plan, size: int) -> bool:
        """Whether ``split_by`` = size splits the layer's outputs as the plan does."""
        raise TypeError(f"{cls.__name__} does not split outputs")

    @classmethod
    def origin(cls, plan: Plan, weight: Tensor) -> dict[str, Tensor]:
        """Where the stored tensors start, by their keys, from the frozen weight, if the update is
        relative to that: it is zero there, and a file does not hold it."""
        return {}

    @classmethod
    def in_training(cls, tensors: Mapping[str, Tensor], plan: Plan) -> Mapping[str, Tensor]:
        """The stored tensors as one training step sees them. What is drawn is drawn on their
        device from torch's generator, which the step seeds."""
        return tensors

    @classmethod
    def delta(cls, parts: Mapping[str, Part], plan: Plan, base: FrozenLayer | None) -> Delta:
        """The formula: the parts, canonical, to the update, scaled by ``plan.scale``; ``base`` is
        there where the algorithm needs it."""
        raise TypeError(f"{cls.__name__} has no formula")


_REGISTRY: dict[str, type[Algorithm]] = {}
AlgorithmClass = TypeVar("AlgorithmClass", bound=type[Algorithm])


def register(cls: AlgorithmClass) -> AlgorithmClass:
    """Class decorator: make the algorithm known by its name.

    Raises:
        TypeError: another one has this name, or declares an option of one name differently.
    """
    if cls.name in _REGISTRY:
        raise TypeError(f"there is an algorithm {cls.name} already: unregister it first")
    _options_of({**_REGISTRY, cls.name: cls})
    _REGISTRY[cls.name] = cls
    return cls


def unregister(name: str) -> None:
    """Forget an algorithm; networks that were built with it go on working."""
    del _REGISTRY[name]


def algorithm_names() -> list[str]:
    return sorted(_REGISTRY)


def algorithm_options() -> list[Option]:
    """The options of all algorithms, each once, in the order in which they were registered."""
    return _options_of(_REGISTRY)


def _options_of(algorithms: Mapping[str, type[Algorithm]]) -> list[Option]:
    return options_of({name: cls.Options.options().values() for name, cls in algorithms.items()})


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
        own: sizes of the axes that only this algorithm has, as (axis, size).
        dora: the lengths beside the algorithm's parts; None without DoRA.
    """

    algorithm: type[Algorithm]
    layer: LayerSpec
    chosen: tuple[int, ...]
    rank: int
    alpha: float
    spaces: tuple[LayerSpec, ...]
    own: tuple[tuple[str, int], ...] = ()
    dora: Factor | None = None

    def __post_init__(self) -> None:
        # Before Python 3.12 they take a lock when first asked, which torch.compile cannot trace.
        _ = self.scale, self._stored

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

    @property
    def needs_base(self) -> bool:
        """Whether ``delta`` reads the frozen layer."""
        return self.algorithm.needs_base or self.dora is not None

    @property
    def needs_base_weight(self) -> bool:
        """Whether it reads the layer's weight itself, which a quantised layer has packed."""
        return self.algorithm.needs_base_weight or self.dora is not None

    def told(self) -> dict[str, Any]:
        """The options that it tells by itself, where they are no defaults."""
        told = self.algorithm.told(self)
        if self.dora is not None:
            told["dora_wd"] = True
            if self.dora is dora.AXES[True]:
                told["wd_on_output"] = True
        return told

    @property
    def undecomposed(self) -> Plan:
        """The same without DoRA."""
        return self if self.dora is None else replace(self, dora=None)

    @property
    def norm_degree(self) -> int | None:
        """The power of a common factor of the stored tensors, DoRA's lengths apart, with which the
        update grows; None where it is proportional to no power of them."""
        if self.algorithm.needs_base:
            return None
        return 1 if self.algorithm.adds else len(self.undecomposed.factors())

    def origin(self, weight: Tensor) -> dict[str, Tensor]:
        """Where the stored tensors start, if the update is relative to that; else nothing.

        Args:
            weight: of the frozen layer; on meta only shapes are found.
        """
        if weight.is_meta and self.algorithm.origin is not Algorithm.origin:
            return {key: weight.new_empty(shape) for key, shape in self.shapes().items()}
        return self.algorithm.origin(self, weight)

    @property
    def output_keys(self) -> frozenset[str]:
        """Factors that stand on the output side of a product: LoRA+ gives them a rate of their
        own (docs/decisions/010-loraplus.md)."""
        return frozenset(factor.key for _, part, _ in self._stored for factor in part.on_output)

    @property
    def useful_rank(self) -> int | None:
        """The rank beyond which it can say no more; None where it has none."""
        return self.algorithm.useful_rank(self)

    @property
    def spaces_of_products(self) -> list[LayerSpec]:
        """The layer that each stored product stands for."""
        return [space for _, part, space in self._stored if part.on_output]

    def factors(self) -> tuple[Factor, ...]:
        stored = tuple(factor for _, part, _ in self._stored for factor in part.factors)
        return stored if self.dora is None else (*stored, self.dora)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each stored tensor by its key."""
        own = dict(self.own)
        shapes = {
            factor.key: factor.shape(space, self.rank, own)
            for _, part, space in self._stored
            for factor in part.factors
        }
        if self.dora is not None:
            shapes[self.dora.key] = self.dora.shape(self.layer, self.rank)
        return shapes

    def delta(
        self,
        tensors: Mapping[str, Tensor],
        base: FrozenLayer | None = None,
        scalar: Tensor | float | None = None,
    ) -> Delta:
        """The update, scaled by alpha / rank, from the stored tensors.

        Args:
            tensors: by their keys.
            base: the frozen layer, where ``needs_base``.
            scalar: times this, the trained scalar.
        """
        if self.needs_base and base is None:
            raise ConfigError(
                f"{self.algorithm.name} needs the layer that it adapts", fix="inject the network"
            )
        parts = {name: part.delta(tensors, space) for name, part, space in self._stored}
        delta = self.algorithm.delta(parts, self, base)
        if scalar is not None:
            delta = delta.scaled(scalar)
        if self.dora is None or base is None:
            return delta
        magnitude = tensors[self.dora.key].flatten()
        return Dora(self.layer, 1.0, base, delta, magnitude, self.dora is dora.AXES[False])

    def initial(
        self,
        generator: torch.Generator,
        use_scalar: bool,
        device: torch.device,
        weight: Tensor | None = None,
        origin: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Fresh float32 tensors whose update is zero (with ``use_scalar``: times a zero scalar).

        Args:
            weight: of the frozen layer, where ``needs_base_weight``.
            origin: what ``origin`` said of it.
        """
        if use_scalar and not any(factor.zero for factor in self.factors()):
            raise ConfigError(
                f"the update of {self.algorithm.name} is not proportional to any of its tensors",
                where="use_scalar",
                fix="leave it out",
            )
        tensors, shapes = {}, self.shapes()
        for factor in self.factors():
            tensor = torch.empty(shapes[factor.key], device=device)
            if tensor.is_meta:
                pass  # only shapes are asked for
            elif origin and factor.key in origin:
                tensor.copy_(origin[factor.key])
            elif factor.constant is not None:
                tensor = torch.full(tensor.shape, factor.constant, device=device)
            elif factor is self.dora:
                assert weight is not None
                tensor.copy_(dora.lengths(factor, weight).reshape(tensor.shape))
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
