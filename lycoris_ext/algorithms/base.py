"""The base class of algorithms, and ``Plan``: how an algorithm adapts one layer.

An algorithm's formula combines a few matrices, its parts. Each part can be stored in alternative
ways: as a whole matrix, as two low-rank factors, or with a Tucker core (see ``parts``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor

from lycoris_ext.algorithms import dora
from lycoris_ext.algorithms.beside import Beside, with_beside
from lycoris_ext.algorithms.parts import Alternative, Core, Factor, Part, TuckerOptions
from lycoris_ext.errors import ConfigError
from lycoris_ext.functional import Delta, Dora, FrozenLayer, LayerSpec
from lycoris_ext.options import Section

Sizes = dict[str, int]
"""Sizes of the symbolic axes of stored tensors: {"out": 320, "in": 640, "rank": 8}."""


class Algorithm:
    """Base of every algorithm: a table of the tensors that are stored, and one formula.

    The classes are never instantiated; a ``Plan`` holds what differs from layer to layer.

    Attributes:
        name: the value of the option ``algo`` that chooses it.
        Options: class of the options that the algorithm reads; any other option is refused. If it
            is a subclass of ``DoraOptions``, DoRA can be applied to the algorithm.
        parts: name of each matrix in the formula -> the alternative ways to store it.
        splits: the parts are matrices smaller than the layer's weight, each with its own number of
            outputs and inputs, as the two factors of a Kronecker product are.
        needs_base: the formula reads the frozen layer.
        needs_base_weight: it reads the values of its weight, which must not be quantised.
        takes_timesteps: in training the update depends on the timesteps of the noisy samples.
        stores_alpha: a file holds an alpha for each layer.
        alpha_limits: alpha is the limit of a rotation and no part of a scale.
        adds: the update is the sum of the stored tensors (those of weight and bias), not a product.
        of_norms: the algorithm adapts normalisations, and nothing else.
        split_by: the option that sets how outputs are split into blocks or factors; "" if none.
        trains: the algorithm as whose files this one's are saved; "" if it has a format of its own.
        fixed: option of LyCORIS for this algorithm -> the only value that is supported here.
    """

    name: ClassVar[str]
    Options: ClassVar[type[Section]] = Section
    parts: ClassVar[dict[str, tuple[Alternative, ...]]]
    splits: ClassVar[bool] = False
    needs_base: ClassVar[bool] = False
    needs_base_weight: ClassVar[bool] = False
    takes_timesteps: ClassVar[bool] = False
    stores_alpha: ClassVar[bool] = True
    alpha_limits: ClassVar[bool] = False
    adds: ClassVar[bool] = False
    of_norms: ClassVar[bool] = False
    split_by: ClassVar[str] = ""
    trains: ClassVar[str] = ""
    fixed: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def reads(cls, option: str) -> bool:
        """Return True if the algorithm reads an option of this name."""
        return option in cls.Options.options()

    @classmethod
    def plan(
        cls, layer: LayerSpec, rank: int, alpha: float, options: Section | None = None
    ) -> Plan:
        """Plan a new adapter for one layer: which tensors it stores, of which shapes.

        Args:
            layer: the layer's shapes.
            rank, alpha: of the adapter.
            options: an object of the class ``Options``; None: its defaults.

        Raises:
            ConfigError: the algorithm cannot adapt this layer with these options.
        """
        options = cls.Options() if options is None else options
        plan = cls.choose(layer, rank, alpha, options)
        if isinstance(options, dora.DoraOptions) and options.dora_wd:
            return replace(plan, dora=dora.AXES[options.wd_on_output])
        return plan

    @classmethod
    def choose(cls, layer: LayerSpec, rank: int, alpha: float, options: Any) -> Plan:
        """Choose how each part is stored; algorithms override this, ``plan`` adds DoRA to it.

        By default each part is stored in its first alternative, or in its second one, which has a
        Tucker core, if the option use_tucker is set and the layer is a convolution beyond 1x1.

        Args:
            options: an object of the class ``Options``.
        """
        core = int(isinstance(options, TuckerOptions) and options.wants_core(layer))
        return Plan(cls, layer, (core,) * len(cls.parts), rank, alpha, (layer,) * len(cls.parts))

    @classmethod
    def useful_rank(cls, plan: Plan) -> int | None:
        """Return the highest rank that any matrix stored as a low-rank product can have.

        None if nothing is stored as a product.
        """
        layers = plan.layers_of_products
        return max((min(layer.out_features, layer.fan_in) for layer in layers), default=None)

    @classmethod
    def allows(cls, chosen: tuple[int, ...]) -> bool:
        """Return True if the parts may be stored in these alternatives (index of each) together."""
        return True

    @classmethod
    def part_layers(cls, layer: LayerSpec, sizes: tuple[Sizes, ...]) -> tuple[LayerSpec, ...]:
        """Return for each part the shapes of its matrix, as those of a layer.

        They are the adapted layer's own, unless the algorithm splits the weight. ``sizes`` are
        those of each part's axes.
        """
        return (layer,) * len(sizes)

    @classmethod
    def widths(cls, sizes: tuple[Sizes, ...]) -> tuple[int, int]:
        """Return the layer's outputs and inputs as the axes of a file's tensors give them.

        0 stands for a number that no axis gives. If inputs are stored together with the kernel, the
        number of inputs is in * kernel area.
        """
        of_parts = sizes if cls.splits else sizes[:1]
        out = prod(part.get("out", 0) for part in of_parts)
        return out, prod(part.get("in", part.get("in*k", 0)) for part in of_parts)

    @classmethod
    def flaw(cls, sizes: tuple[Sizes, ...]) -> str | None:
        """Return what is wrong with the sizes of a file's axes, in words; None if they are fine."""
        return None

    @classmethod
    def shown_options(cls, plan: Plan) -> dict[str, Any]:
        """Return the options that follow from how a plan's tensors are stored, without defaults.

        For a plan that was detected in a file: the options, other than rank and alpha, with which
        the file must have been trained.
        """
        return {"use_tucker": True} if plan.uses_core else {}

    @classmethod
    def matches_split(cls, plan: Plan, size: int) -> bool:
        """Return True if ``split_by`` = size would split the layer's outputs as the plan does."""
        raise TypeError(f"{cls.__name__} does not split outputs")

    @classmethod
    def origin(cls, plan: Plan, weight: Tensor) -> dict[str, Tensor]:
        """Return the values that the stored tensors start from, if the update is the difference.

        Only T-LoRA has such values; {} for all others. See `Plan.origin`.

        Args:
            weight: the frozen weight, (out, in, *kernel).
        """
        return {}

    @classmethod
    def in_training(cls, tensors: Mapping[str, Tensor], plan: Plan) -> Mapping[str, Tensor]:
        """Return the stored tensors as one training step uses them; by default unchanged.

        An algorithm that draws something here (DyLoRA its number of ranks) draws it on the tensors'
        device from torch's global generator, which is seeded for every batch.
        """
        return tensors

    @classmethod
    def delta(cls, parts: Mapping[str, Part], plan: Plan, base: FrozenLayer | None) -> Delta:
        """Compute the update of the weight, multiplied by ``plan.scale``: the algorithm's formula.

        Args:
            parts: name -> matrix, as ``Alternative.delta`` reads it from the stored tensors.
            plan: of the layer.
            base: the frozen layer; never None if ``needs_base``.
        """
        raise TypeError(f"{cls.__name__} has no formula")


@dataclass(frozen=True)
class Plan:
    """How one layer is adapted: which tensors are stored, of which shapes, and what they mean.

    ``Algorithm.plan`` makes one from options, ``detect`` from the tensors of a file.

    Attributes:
        algorithm: the class with the formula.
        layer: shapes of the adapted layer.
        chosen: for each part of the algorithm, the index of the alternative that is stored.
        rank: of the adapter; 0 for a file whose tensors have no rank.
        alpha: as a file stores it.
        part_layers: for each part, the shapes of its matrix, as those of a layer.
        extra_axes: (name, size) of axes that only this algorithm has, such as blocks.
        dora: the stored tensor with DoRA's magnitudes; None without DoRA.
        beside: what a file stores beside the algorithm's tensors, such as an update of the bias.
    """

    algorithm: type[Algorithm]
    layer: LayerSpec
    chosen: tuple[int, ...]
    rank: int
    alpha: float
    part_layers: tuple[LayerSpec, ...]
    extra_axes: tuple[tuple[str, int], ...] = ()
    dora: Factor | None = None
    beside: tuple[Beside, ...] = ()

    def __post_init__(self) -> None:
        # Before Python 3.12 a cached property takes a lock when it is first read, which
        # torch.compile cannot trace.
        _ = self.scale, self.stored

    @cached_property
    def scale(self) -> float:
        """alpha / rank; 1 if no stored tensor has a rank."""
        return self.alpha / self.rank if self.has_rank else 1.0

    @property
    def has_rank(self) -> bool:
        """Whether a stored tensor has a rank axis."""
        return any("rank" in factor.axes.split() for factor in self.factors())

    @property
    def uses_alpha(self) -> bool:
        """Whether the update depends on alpha; that of two full LoKr matrices does not."""
        return self.has_rank or self.algorithm.alpha_limits

    @property
    def uses_core(self) -> bool:
        """Whether a part is stored with a Tucker core."""
        return any(isinstance(part, Core) for _, part, _ in self.stored)

    @property
    def needs_base(self) -> bool:
        """Whether ``delta`` needs the frozen layer: the algorithm reads it, or DoRA does."""
        return self.algorithm.needs_base or self.dora is not None

    @property
    def needs_base_weight(self) -> bool:
        """Whether ``delta`` reads the values of the frozen weight, so it must not be quantised."""
        return self.algorithm.needs_base_weight or self.dora is not None

    def shown_options(self) -> dict[str, Any]:
        """Return ``Algorithm.shown_options`` and DoRA's: {"use_tucker": True, "dora_wd": True}."""
        shown = self.algorithm.shown_options(self)
        if self.dora is not None:
            shown["dora_wd"] = True
            if self.dora is dora.AXES[True]:
                shown["wd_on_output"] = True
        return shown

    @property
    def without_dora(self) -> Plan:
        """The same plan without DoRA."""
        return self if self.dora is None else replace(self, dora=None)

    @property
    def norm_degree(self) -> int | None:
        """The exponent d of: all stored tensors times s give the update times s**d.

        DoRA's magnitudes are not counted among the tensors. None if there is no such exponent.
        """
        if self.algorithm.needs_base or self.beside:
            return None
        return 1 if self.algorithm.adds else len(self.without_dora.factors())

    def origin(self, weight: Tensor) -> dict[str, Tensor]:
        """Return the values that the stored tensors start from, if the update is the difference.

        They follow from the frozen weight and are in no file. T-LoRA computes them with one SVD for
        each layer; all other algorithms have none: {}.

        Args:
            weight: the frozen weight, (out, in, *kernel); on the meta device the result holds
                shapes only.
        """
        if weight.is_meta and self.algorithm.origin is not Algorithm.origin:
            return {key: weight.new_empty(shape) for key, shape in self.shapes().items()}
        return self.algorithm.origin(self, weight)

    @property
    def output_keys(self) -> frozenset[str]:
        """Keys of the factors on the output side of a product ("up", "B").

        LoRA+ gives them a learning rate of their own (docs/decisions/010-loraplus.md).
        """
        return frozenset(factor.key for _, part, _ in self.stored for factor in part.on_output)

    @property
    def useful_rank(self) -> int | None:
        """The highest rank that its low-rank products can have; None if it has no product."""
        return self.algorithm.useful_rank(self)

    @property
    def layers_of_products(self) -> list[LayerSpec]:
        """For each part stored as a product, the shapes of its matrix, as those of a layer."""
        return [layer for _, part, layer in self.stored if part.on_output]

    def factors(self) -> tuple[Factor, ...]:
        """Return the description of every stored tensor except alpha."""
        stored = tuple(factor for _, part, _ in self.stored for factor in part.factors)
        extra = tuple(factor for one in self.beside for factor in one.factors)
        return (*stored, *extra, *(() if self.dora is None else (self.dora,)))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return key -> shape of every stored tensor except alpha."""
        extra_axes = dict(self.extra_axes)
        shapes = {
            factor.key: factor.shape(layer, self.rank, extra_axes)
            for _, part, layer in self.stored
            for factor in part.factors
        }
        for factor in self.factors():
            if factor.key not in shapes:  # beside the parts: for the layer as a whole
                shapes[factor.key] = factor.shape(self.layer, self.rank, extra_axes)
        return shapes

    def delta(
        self,
        tensors: Mapping[str, Tensor],
        base: FrozenLayer | None = None,
        scalar: Tensor | float | None = None,
    ) -> Delta:
        """Return the update of the layer's weight, multiplied by alpha / rank.

        Args:
            tensors: key -> stored tensor.
            base: the frozen layer, required if ``needs_base``.
            scalar: the trained number of the option use_scalar, by which the update is multiplied.
        """
        if self.needs_base and base is None:
            raise ConfigError(
                f"{self.algorithm.name} needs the layer that it adapts", fix="inject the network"
            )
        parts = {name: part.delta(tensors, layer) for name, part, layer in self.stored}
        delta = self.algorithm.delta(parts, self, base)
        if scalar is not None:
            delta = delta.scaled(scalar)
        delta = with_beside(delta, self.beside, tensors, self.scale, of_bias=False)
        if self.dora is not None and base is not None:
            magnitude = tensors[self.dora.key].flatten()
            delta = Dora(self.layer, 1.0, base, delta, magnitude, self.dora is dora.AXES[False])
        return with_beside(delta, self.beside, tensors, self.scale, of_bias=True)

    def initial(
        self,
        generator: torch.Generator,
        use_scalar: bool,
        device: torch.device,
        weight: Tensor | None = None,
        origin: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return key -> initial tensor in float32, such that the update is zero.

        Args:
            generator: of random numbers.
            use_scalar: the update is multiplied by a trained number that starts at 0, so the factor
                that would otherwise be zero is initialised at random.
            device: of the tensors.
            weight: the frozen weight, (out, in, *kernel), required if ``needs_base_weight``.
            origin: the result of ``origin`` for this weight.
        """
        if use_scalar and not any(factor.zero for factor in self.factors()):
            raise ConfigError(
                f"the update of {self.algorithm.name} is not proportional to any of its tensors",
                where="use_scalar",
                fix="leave it out",
            )
        tensors, shapes = {}, self.shapes()
        for factor in self.factors():
            tensor = factor.initial(shapes[factor.key], generator, device, random=use_scalar)
            if origin and factor.key in origin:
                tensor.copy_(origin[factor.key])
            elif factor is self.dora and not tensor.is_meta:
                assert weight is not None
                tensor.copy_(dora.initial_magnitudes(factor, weight).reshape(tensor.shape))
            tensors[factor.key] = tensor
        return tensors

    @cached_property
    def stored(self) -> tuple[tuple[str, Alternative, LayerSpec], ...]:
        """(name, chosen alternative, shapes of its matrix) of each part."""
        parts = self.algorithm.parts
        return tuple(
            (name, parts[name][i], layer)
            for name, i, layer in zip(parts, self.chosen, self.part_layers, strict=True)
        )
