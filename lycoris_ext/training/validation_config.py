"""Options of validation: how often the loss on pictures that are held out is computed."""

from __future__ import annotations

from dataclasses import dataclass

from lycoris_ext.options import Section, option


@dataclass(frozen=True, init=False)
class ValidationConfig(Section):
    """When the loss on the pictures that validation_split holds out is computed."""

    validate_every_n_steps: int | None = option(
        None,
        "Interval in steps at which the loss on the pictures that validation_split holds out is "
        "computed, besides that of validate_every_n_epochs.",
        unset="validate_every_n_epochs decides",
        low=1,
        may_change="always",
    )
    validate_every_n_epochs: int | None = option(
        None,
        "Interval in epochs at which the loss on the pictures that validation_split holds out is "
        "computed; it is computed after the last step, too.",
        unset="every epoch",
        low=1,
        may_change="always",
    )
    max_validation_steps: int | None = option(
        None,
        "Number of batches of held-out pictures that a validation looks at, the same ones each "
        "time.",
        unset="all of them",
        low=1,
        may_change="always",
    )
