"""What diag-OFT and BOFT have in common: W' = diag(rescale) R W, R a rotation of the outputs.

A file's alpha is the constraint: Q, of which R is made, may be as long as alpha times the outputs;
0, or no alpha at all: as long as it likes. So nothing here has a rank, and the scale is 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from lycoris_ext.algorithms.base import Algorithm, Plan, Sizes
from lycoris_ext.algorithms.parts import Absent, Factor, Part, Raw, ones
from lycoris_ext.errors import ConfigError
from lycoris_ext.functional import ChannelMap, Delta, FrozenLayer, LayerSpec, OutputMap, Rescaled
from lycoris_ext.options import Section, option


@dataclass(frozen=True, init=False)
class OrthogonalOptions(Section):
    """Options of diag-OFT and BOFT."""

    constraint: float = option(
        0.0,
        "How far a weight may be turned: the matrix that the rotation is made of is kept shorter "
        "than this times the number of outputs. 0: as far as it likes.",
        low=0,
        aliases=("constrain",),
    )
    rescaled: bool = option(False, "Train a length for each output channel, too.")


class Orthogonal(Algorithm):
    """Base of both.

    Attributes:
        rule: which blocks it can have, in words.
        rescale: how the lengths of the outputs are stored, for ``parts``; the other part is
            "blocks", its axes "blocks block block", perhaps behind others.
    """

    needs_base = True
    split_by = "network_dim"
    Options = OrthogonalOptions
    rule: ClassVar[str]
    rescale: ClassVar = (Absent(), Raw(Factor("rescale", "out 1 1k", ones)))

    @classmethod
    def sizes(cls, layer: LayerSpec, largest: int) -> Sizes | None:
        """The axes of ``oft_blocks`` with blocks of at most ``largest``; None where the outputs
        cannot be split so."""
        raise TypeError(f"{cls.__name__} has no sizes")

    @classmethod
    def smallest(cls, layer: LayerSpec) -> int | None:
        """The smallest ``largest`` that does; None where none does."""
        raise TypeError(f"{cls.__name__} has no sizes")

    @classmethod
    def rotation(cls, blocks: Tensor, limit: float) -> ChannelMap:
        """R - I, from ``oft_blocks`` and the length that Q may have (0: any)."""
        raise TypeError(f"{cls.__name__} has no rotation")

    @classmethod
    def choose(cls, layer: LayerSpec, rank: int, alpha: float, options: OrthogonalOptions) -> Plan:
        sizes = cls.sizes(layer, rank)
        if sizes is None:
            smallest = cls.smallest(layer)
            raise ConfigError(
                f"{cls.name} cannot split {layer.out_features} outputs into blocks of at most "
                f"{rank} ({cls.rule})",
                where="conv_dim" if layer.is_spatial else "network_dim",
                fix=f"use {smallest} or more, or exclude the layer"
                if smallest
                else "no size does: exclude the layer, or use another algorithm for it",
            )
        chosen = (0, int(options.rescaled))
        own = tuple(sizes.items())
        return Plan(cls, layer, chosen, rank, options.constraint, (layer, layer), own)

    @classmethod
    def told(cls, plan: Plan) -> dict[str, Any]:
        told: dict[str, Any] = {"constraint": plan.alpha} if plan.alpha else {}
        return {**told, "rescaled": True} if plan.chosen[1] else told

    @classmethod
    def splits_so(cls, plan: Plan, size: int) -> bool:
        return cls.sizes(plan.layer, size) == dict(plan.own)

    @classmethod
    def widths(cls, sizes: tuple[Sizes, ...]) -> tuple[int, int]:
        return sizes[0]["blocks"] * sizes[0]["block"], 0

    @classmethod
    def delta(cls, parts: Mapping[str, Part], plan: Plan, base: FrozenLayer | None) -> Delta:
        blocks, rescale = parts["blocks"], parts["rescale"]
        assert isinstance(blocks, Tensor) and base is not None
        rotation = cls.rotation(blocks, plan.alpha * plan.layer.out_features)
        if isinstance(rescale, Tensor):
            rotation = Rescaled(rescale.flatten(), rotation)
        return OutputMap(plan.layer, plan.scale, base, rotation)
