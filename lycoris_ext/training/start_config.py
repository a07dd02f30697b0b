"""Options of what a run starts from, beside the base model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.options import Section, option


@dataclass(frozen=True, init=False)
class StartConfig(Section):
    """Adapters that a run starts from."""

    network_weights: str | None = option(
        None,
        "An adapter file to go on from: training begins with its weights.",
        unset="training begins with a fresh adapter, which changes nothing",
        is_path=True,
        may_change="always",
    )
    dim_from_weights: bool = option(
        False,
        "Build the network as the file network_weights is, with its layers, ranks and alphas, "
        "whatever algo, network_dim and the other options of the network say.",
    )
    base_weights: tuple[str, ...] = option(
        (),
        "Adapter files that are merged into the base model before training. What is trained comes "
        "on top of them and does not contain them.",
        is_path=True,
        may_change="always",
    )
    base_weights_multiplier: tuple[float, ...] = option(
        (), "Strengths of the files of base_weights, in the same order; 1 where none is given."
    )

    def contradictions(self) -> Iterator[LycorisExtError]:
        if self.dim_from_weights and not self.network_weights:
            yield ConfigError(
                "dim_from_weights is true, but network_weights is not set",
                where="dim_from_weights",
                fix="set network_weights to an adapter file, or remove dim_from_weights",
            )
        if len(self.base_weights_multiplier) > len(self.base_weights):
            yield ConfigError(
                f"{len(self.base_weights_multiplier)} strengths are given for "
                f"{len(self.base_weights)} files in base_weights",
                where="base_weights_multiplier",
                fix="give one number for each file",
            )

    @property
    def strengths(self) -> tuple[float, ...]:
        """One strength for each file of base_weights."""
        missing = len(self.base_weights) - len(self.base_weights_multiplier)
        return (*self.base_weights_multiplier, *(1.0,) * missing)
