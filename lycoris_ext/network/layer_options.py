"""The options that may differ from layer to layer, under the names of sd-scripts and LyCORIS."""

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
    """Return every value that the option ``algo`` accepts."""
    return sorted({*algorithm_names(), *_ALIASES})


@dataclass(frozen=True, init=False)
class LayerOptions(Section):
    """How one layer is adapted: the options that an override may set for some of the layers.

    The options that algorithms declare are among them. ``NetworkConfig`` adds the options that hold
    for the network as a whole.
    """

    algo: str = option(
        "loha",
        "Algorithm of the adapter. lora skips convolutions larger than 1x1 unless conv_dim is set; "
        "locon is lora that also adapts these convolutions; norm trains normalisation layers and "
        "no others.",
        choices=known_algorithms,
        may_change=_IN_FILE,
    )
    network_dim: int = option(
        8,
        "Rank of the adapter in Linear layers and 1x1 convolutions; for diag-oft and boft the "
        "largest size of a block. A larger rank can learn more and makes a larger file.",
        low=1,
        may_change=_IN_FILE,
    )
    network_alpha: float = option(
        1.0,
        "Alpha of the adapter in Linear layers and 1x1 convolutions: the update of a weight is "
        "multiplied by alpha / rank.",
        above=0,
        may_change=_IN_FILE,
    )
    conv_dim: int | None = option(
        None,
        "Rank of the adapter in convolutions larger than 1x1; 0: these get no adapter.",
        unset="as network_dim, but 0 for lora",
        low=0,
        may_change=_IN_FILE,
    )
    conv_alpha: float | None = option(
        None,
        "Alpha of the adapter in convolutions larger than 1x1: the update of a weight is "
        "multiplied by alpha / rank.",
        unset="as network_alpha",
        above=0,
        may_change=_IN_FILE,
    )
    dropout: float = option(
        0.0,
        "Dropout on the output of each layer's adapter: the share of elements that are set to 0 in "
        "a training step. 0: no dropout.",
        low=0,
        below=1,
    )
    rank_dropout: float = option(
        0.0,
        "Dropout of whole rows (output channels) of each layer's update: the share of rows that "
        "are set to 0 in a training step. 0: no dropout.",
        low=0,
        below=1,
    )
    rank_dropout_scale: bool = option(
        False,
        "With rank_dropout: divide the rows that remain by the share of rows that remain, so that "
        "on average the update is as large as without dropout.",
    )
    module_dropout: float = option(
        0.0,
        "Dropout of whole layers: the chance, drawn for each layer and step, that its adapter is "
        "switched off. 0: no dropout.",
        low=0,
        below=1,
    )
    use_scalar: bool = option(
        False,
        "Multiply each layer's update by a trained number that starts at 0; the factor that would "
        "otherwise start at 0 then starts at random. The number is multiplied into the weights "
        "when the adapter is saved, so files need no extra entry for it.",
    )
    rs_lora: bool = option(
        False,
        "Rank-stabilised LoRA: multiply updates by alpha / sqrt(rank) instead of alpha / rank.",
        may_change=_IN_FILE,
    )
    bypass_mode: bool = option(
        False,
        "Compute the output of each layer's adapter as up(down(x)), without building a matrix of "
        "the size of the layer's weight. Refused for algorithms and layers that cannot do this.",
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
        """The options that the chosen algorithm reads, as an object of its ``Options`` class."""
        return self.algorithm.Options.taken_from(self)

    @property
    def dropouts(self) -> Dropouts:
        """The four dropout options."""
        return Dropouts(
            self.dropout, self.rank_dropout, self.module_dropout, self.rank_dropout_scale
        )

    def dims(self, spatial: bool) -> tuple[int, float]:
        """Return (rank, alpha) for a kind of layer; rank 0 means that it gets no adapter.

        Args:
            spatial: the layer is a convolution larger than 1x1.
        """
        if not spatial:
            return self.network_dim, self.network_alpha
        default = 0 if self.algo == "lora" else self.network_dim
        rank = default if self.conv_dim is None else self.conv_dim
        return rank, self.network_alpha if self.conv_alpha is None else self.conv_alpha
