"""The common base of diag-OFT and BOFT: W' = diag(rescale) R W with a rotation R of the outputs.

R is computed from a trained matrix Q (Cayley transform). The alpha in a file is the constraint: the
norm of Q is limited to alpha * outputs; 0 or a missing alpha means no limit. There is no rank, and
the scale is 1.
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
    """The options of diag-OFT and BOFT."""

    constraint: float = option(
        0.0,
        "Limit of the rotation of a weight: the norm of the matrix that the rotation is computed "
        "from is at most this times the number of outputs. 0: no limit.",
        low=0,
        high=1000,
        aliases=("constrain",),
    )
    rescaled: bool = option(
        False, "In addition to the rotation, train a factor that scales each output channel."
    )


class Orthogonal(Algorithm):
    """Base of ``DiagOFT`` and ``BOFT``.

    Subclasses declare two parts: "blocks", the trained matrices, whose last axes are "blocks block
    block"; and "rescale", which is ``Orthogonal.rescale``.

    Attributes:
        rule: which sizes of blocks are possible, in words, for messages.
        rescale: alternatives of the factors that scale the outputs: absent, or (out, 1, ...).
    """

    needs_base = True
    alpha_limits = True
    split_by = "network_dim"
    Options = OrthogonalOptions
    rule: ClassVar[str]
    rescale: ClassVar = (Absent(), Raw(Factor("rescale", "out 1 1k", ones)))

    @classmethod
    def sizes(cls, layer: LayerSpec, largest: int) -> Sizes | None:
        """Return the sizes of the axes of ``oft_blocks``; None if the outputs cannot be split.

        Args:
            largest: the largest size that a block may have.
        """
        raise TypeError(f"{cls.__name__} has no sizes")

    @classmethod
    def smallest(cls, layer: LayerSpec) -> int | None:
        """Return the smallest ``largest`` for which ``sizes`` finds a split; None if none does."""
        raise TypeError(f"{cls.__name__} has no sizes")

    @classmethod
    def rotation(cls, blocks: Tensor, plan: Plan) -> ChannelMap:
        """Return R - I.

        Args:
            blocks: the stored tensor of the part "blocks", (..., blocks, block, block).
            plan: of the layer.
        """
        raise TypeError(f"{cls.__name__} has no rotation")

    @classmethod
    def limit(cls, plan: Plan) -> float:
        """Return the largest norm that Q may have; 0: no limit."""
        return plan.alpha * plan.layer.out_features

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
        axes = tuple(sizes.items())
        return Plan(cls, layer, chosen, rank, options.constraint, (layer, layer), axes)

    @classmethod
    def shown_options(cls, plan: Plan) -> dict[str, Any]:
        shown: dict[str, Any] = {"constraint": plan.alpha} if plan.alpha else {}
        return {**shown, "rescaled": True} if plan.chosen[1] else shown

    @classmethod
    def matches_split(cls, plan: Plan, size: int) -> bool:
        return cls.sizes(plan.layer, size) == dict(plan.extra_axes)

    @classmethod
    def widths(cls, sizes: tuple[Sizes, ...]) -> tuple[int, int]:
        return sizes[0]["blocks"] * sizes[0]["block"], 0

    @classmethod
    def delta(cls, parts: Mapping[str, Part], plan: Plan, base: FrozenLayer | None) -> Delta:
        blocks, rescale = parts["blocks"], parts["rescale"]
        assert isinstance(blocks, Tensor) and base is not None
        rotation = cls.rotation(blocks, plan)
        if isinstance(rescale, Tensor):
            rotation = Rescaled(rescale.flatten(), rotation)
        return OutputMap(plan.layer, plan.scale, base, rotation)
