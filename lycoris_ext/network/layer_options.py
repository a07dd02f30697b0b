"""How a layer is adapted, under sd-scripts' and LyCORIS's names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from lycoris_ext.algorithms import Algorithm, algorithm, algorithm_names, algorithm_options
from lycoris_ext.errors import LycorisExtError
from lycoris_ext.modules import Dropouts
from lycoris_ext.options import MayChange, Option, Section, option

# LoCon is LoRA with a rank on convolutions too.
_ALIASES = {"locon": "lora"}
_IN_FILE: MayChange = "if dim_from_weights"  # an adapter file holds it


def known_algorithms() -> list[str]:
    """Every name that ``algo`` may have."""
    return sorted({*algorithm_names(), *_ALIASES})


@dataclass(frozen=True, init=False)
class LayerOptions(Section):
    """The options that an override may set for some layers; those of the algorithms are among them.

    All other options of ``NetworkConfig`` are of the network as a whole.
    """

    algo: str = option(
        "loha",
        "Algorithm of the adapter. lora leaves convolutions larger than 1x1 alone unless conv_dim "
        "is set, locon is lora on all layers, and norm trains normalisation layers and no others.",
        choices=known_algorithms,
        may_change=_IN_FILE,
    )
    network_dim: int = option(
        8,
        "Rank of the adapter in Linear layers and 1x1 convolutions; for diag-oft and boft the size "
        "of a block. A larger rank can learn more, and makes a larger file.",
        low=1,
        may_change=_IN_FILE,
    )
    network_alpha: float = option(
        1.0,
        "Alpha of Linear layers and 1x1 convolutions: the update is multiplied by alpha / rank.",
        above=0,
        may_change=_IN_FILE,
    )
    conv_dim: int | None = option(
        None,
        "Rank of the adapter in convolutions larger than 1x1; 0: they are not adapted.",
        unset="as network_dim, but 0 for lora",
        low=0,
        may_change=_IN_FILE,
    )
    conv_alpha: float | None = option(
        None,
        "Alpha of convolutions larger than 1x1: the update is multiplied by alpha / rank.",
        unset="as network_alpha",
        above=0,
        may_change=_IN_FILE,
    )
    dropout: float = option(
        0.0,
        "Share of the elements of each layer's update that a training step leaves out; 0: none.",
        low=0,
        below=1,
    )
    rank_dropout: float = option(
        0.0,
        "Share of the rows (output channels) of each layer's update that a training step leaves "
        "out; 0: none.",
        low=0,
        below=1,
    )
    rank_dropout_scale: bool = option(
        False,
        "With rank_dropout: divide the rows that a step keeps by their share, so that the update "
        "is as large as without dropout on average.",
    )
    module_dropout: float = option(
        0.0,
        "Share of the training steps in which the whole update of a layer is left out; 0: none.",
        low=0,
        below=1,
    )
    use_scalar: bool = option(
        False,
        "Multiply each layer's update by a number that is trained and starts at 0. The file holds "
        "the product.",
    )
    rs_lora: bool = option(
        False,
        "Multiply updates by alpha / sqrt(rank), instead of alpha / rank (rank-stabilised LoRA).",
        may_change=_IN_FILE,
    )
    bypass_mode: bool = option(
        False,
        "Compute each layer's update from its input through the low rank, and never build a matrix "
        "of the size of the layer's weight. Refused where an algorithm or layer has no such way.",
    )

    @classmethod
    def kind_options(cls) -> Iterable[Option]:
        return [replace(known, may_change=_IN_FILE) for known in algorithm_options()]

    def contradictions(self) -> Iterator[LycorisExtError]:
        try:
            _ = self.algorithm_options
        except LycorisExtError as error:
            yield error

    @property
    def chosen_kind(self) -> str:
        return self.algorithm.name

    @property
    def algorithm(self) -> type[Algorithm]:
        """The algorithm that ``algo`` names."""
        return algorithm(_ALIASES.get(self.algo, self.algo))

    @cached_property
    def algorithm_options(self) -> Section:
        """What the algorithm reads of these options, as it declares them."""
        return self.algorithm.Options.taken_from(self)

    @property
    def dropouts(self) -> Dropouts:
        return Dropouts(
            self.dropout, self.rank_dropout, self.module_dropout, self.rank_dropout_scale
        )

    def dims(self, spatial: bool) -> tuple[int, float]:
        """(rank, alpha) of a layer; rank 0 means that it is not adapted.

        Args:
            spatial: the layer's kernel is larger than 1x1.
        """
        if not spatial:
            return self.network_dim, self.network_alpha
        default = 0 if self.algo == "lora" else self.network_dim
        rank = default if self.conv_dim is None else self.conv_dim
        return rank, self.network_alpha if self.conv_alpha is None else self.conv_alpha
