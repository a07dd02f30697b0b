"""Options for the adapter files that a run starts from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.network.merge import MOST_STRENGTH
from lycoris_ext.options import Section, option
from lycoris_ext.words import count


@dataclass(frozen=True, init=False)
class StartConfig(Section):
    """Adapter files that a run starts from."""

    network_weights: str | None = option(
        None,
        "Adapter file to train further: training begins with its weights.",
        unset="training begins with a new adapter, whose update is zero",
        is_path=True,
        may_change="always",
    )
    dim_from_weights: bool = option(
        False,
        "Build the network as the file network_weights has it, with its algorithm, layers, ranks "
        "and alphas. The options that would choose these (algo, network_dim, preset, exclude and "
        "so on) have no effect then; learning rates and dropouts have theirs.",
    )
    base_weights: tuple[str, ...] = option(
        (),
        "Adapter files that are merged into the base model before training. The trained adapter "
        "does not contain them: load it together with them.",
        is_path=True,
        may_change="always",
    )
    base_weights_multiplier: tuple[float, ...] = option(
        (),
        "Strength at which each file of base_weights is merged, in the order of the files; 1 for "
        "files without a number.",
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
                f"{count(len(self.base_weights_multiplier), 'strength is', 'strengths are')} given "
                f"for {count(len(self.base_weights), 'file')} in base_weights",
                where="base_weights_multiplier",
                fix="give one number for each file",
            )

        beyond = [each for each in self.base_weights_multiplier if not abs(each) <= MOST_STRENGTH]
        if beyond:
            yield ConfigError(
                f"base_weights_multiplier holds the strength {beyond[0]:g}",
                where="base_weights_multiplier",
                fix=f"use strengths from -{MOST_STRENGTH:g} to {MOST_STRENGTH:g}, mostly 0 to 1",
            )

    @property
    def strengths(self) -> tuple[float, ...]:
        """One strength for each file of base_weights."""
        missing = len(self.base_weights) - len(self.base_weights_multiplier)
        return (*self.base_weights_multiplier, *(1.0,) * missing)
