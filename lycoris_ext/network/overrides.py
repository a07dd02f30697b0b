"""Other settings for some of the layers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import inf
from typing import Any

from lycoris_ext.errors import ConfigError

Settings = dict[str, Any]
"""What one layer has of its own: NetworkConfig's names, except that ``rank`` and ``alpha`` stand
for its four, and ``learning_rate`` and ``lr_weight``."""

_SIZES = ("network_dim", "network_alpha", "conv_dim", "conv_alpha")


@dataclass(frozen=True)
class LayerOverride:
    """Settings for the layers that a pattern fits; what is unset stays as it is for all.

    Where several fit a layer, the first one that sets a thing decides on it.

    Args:
        match: a name or a regular expression over paths like
            ``unet.down_blocks.0.resnets.0.conv1``, searched for as in include.
        network_dim: rank of these layers; 0: none, they are not adapted.
        network_alpha: their alpha.
        conv_dim: rank of those among them with kernels larger than 1x1, adapted before or not;
            unset: network_dim for those that are adapted anyway.
        conv_alpha: their alpha; unset: network_alpha.
        learning_rate: instead of the rate of the model they belong to; 0: they are not adapted.
        lr_weight: times the rate that they have otherwise; 0: they are not adapted.

    The others are NetworkConfig's.
    """

    match: str
    algo: str | None = None
    network_dim: int | None = None
    network_alpha: float | None = None
    conv_dim: int | None = None
    conv_alpha: float | None = None
    learning_rate: float | None = None
    lr_weight: float | None = None
    dropout: float | None = None
    rank_dropout: float | None = None
    rank_dropout_scale: bool | None = None
    module_dropout: float | None = None
    use_tucker: bool | None = None
    use_scalar: bool | None = None
    rs_lora: bool | None = None
    factor: int | None = None
    decompose_both: bool | None = None
    full_matrix: bool | None = None
    unbalanced_factorization: bool | None = None
    block_size: int | None = None
    constraint: float | None = None
    rescaled: bool | None = None
    train_on_input: bool | None = None
    dora_wd: bool | None = None
    wd_on_output: bool | None = None
    bypass_mode: bool | None = None

    def __post_init__(self) -> None:
        check_pattern(self.match, self.where)
        for name, least in (("network_dim", 0), ("conv_dim", 0), ("lr_weight", 0.0)):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise ConfigError(f"{name} is {value}", where=self.where, fix="use 0 or more")
        for name in ("network_alpha", "conv_alpha"):
            value = getattr(self, name)
            if value is not None and not 0 < value < inf:
                raise ConfigError(
                    f"{name} is {value}", where=self.where, fix="use a number above 0"
                )
        if self.learning_rate is not None and not 0.0 <= self.learning_rate <= 10.0:
            raise ConfigError(
                f"learning_rate is {self.learning_rate}",
                where=self.where,
                fix="use a number from 0 to 10",
            )
        if len(self.as_table()) == 1:
            raise ConfigError("sets nothing", where=self.where, fix="add what is to be different")

    @property
    def where(self) -> str:
        """How messages name it."""
        return f'overrides, match = "{self.match}"'

    def as_table(self) -> Settings:
        """What is set, as TOML holds it."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def fits(self, name: str) -> bool:
        return re.search(self.match, name) is not None

    def settings(self, spatial: bool, adapted: bool) -> Settings:
        """What it says of one layer.

        Args:
            spatial: the layer's kernel is larger than 1x1.
            adapted: it has a rank without this override.
        """
        table = self.as_table()
        del table["match"]
        sizes = {name: table.pop(name, None) for name in _SIZES}
        rank, alpha = sizes["network_dim"], sizes["network_alpha"]
        if spatial:
            own_rank, own_alpha = sizes["conv_dim"], sizes["conv_alpha"]
            if own_rank is not None or not (adapted or rank == 0):
                rank = own_rank
            alpha = own_alpha if own_alpha is not None else alpha
        told = {"rank": rank, "alpha": alpha}
        return table | {name: value for name, value in told.items() if value is not None}


def merged(
    overrides: Sequence[LayerOverride], name: str, spatial: bool, preset: Settings, rank: int
) -> tuple[Settings, dict[str, str]]:
    """What the overrides and the preset say of one layer, the first one before the others.

    Args:
        name: of the layer, as patterns see it.
        preset: what the preset says; the overrides come before it.
        rank: of the layer without any of them.

    Returns:
        The settings, and for each of them who said it, for messages.
    """
    rank = preset.get("rank", rank)
    settings: Settings = {}
    said: dict[str, str] = {}
    for override in overrides:
        if override.fits(name):
            for setting, value in override.settings(spatial, rank > 0).items():
                if setting not in settings:
                    settings[setting], said[setting] = value, override.where
    said = {**dict.fromkeys(preset, "preset"), **said}
    return preset | settings, said


def check_pattern(pattern: str, where: str) -> None:
    """Raises ConfigError where it is no regular expression."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"{pattern!r} is no regular expression ({error})",
            where=where,
            fix="put a backslash before brackets and other signs that are meant as they are",
        ) from error
