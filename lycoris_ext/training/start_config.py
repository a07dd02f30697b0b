"""Options of what a run starts from, beside the base model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lycoris_ext.errors import ConfigError


@dataclass(frozen=True)
class StartConfig:
    """Adapters that a run starts from.

    Args:
        network_weights: an adapter file to go on from: training begins with its weights.
        dim_from_weights: build the network as network_weights is, with its layers, ranks and
            alphas, whatever algo, network_dim and the like say.
        base_weights: adapter files merged into the base before training; what is trained then
            comes on top of them, and does not contain them.
        base_weights_multiplier: their strengths in the same order; 1 where none is given.
    """

    network_weights: str | None = None
    dim_from_weights: bool = False
    base_weights: tuple[str, ...] = ()
    base_weights_multiplier: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.dim_from_weights and not self.network_weights:
            raise ConfigError(
                "dim_from_weights is true, but network_weights is not set",
                where="dim_from_weights",
                fix="set network_weights to an adapter file, or remove dim_from_weights",
            )
        if len(self.base_weights_multiplier) > len(self.base_weights):
            raise ConfigError(
                f"{len(self.base_weights_multiplier)} strengths are given for "
                f"{len(self.base_weights)} files in base_weights",
                where="base_weights_multiplier",
                fix="give one number for each file",
            )
        if not all(math.isfinite(strength) for strength in self.base_weights_multiplier):
            raise ConfigError(
                f"base_weights_multiplier is {self.base_weights_multiplier}",
                where="base_weights_multiplier",
                fix="use finite numbers",
            )

    @property
    def strengths(self) -> tuple[float, ...]:
        """One strength for each file of base_weights."""
        missing = len(self.base_weights) - len(self.base_weights_multiplier)
        return (*self.base_weights_multiplier, *(1.0,) * missing)
