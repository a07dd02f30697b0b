"""Settings for some of the layers: the ``overrides`` of a config, and those of preset files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.network.layer_options import LayerOptions
from lycoris_ext.options import Option, Section, option
from lycoris_ext.patterns import pattern_faults, pattern_fits
from lycoris_ext.words import short

Settings = dict[str, Any]
"""Setting -> value for one layer: options of LayerOptions, ``learning_rate`` and ``lr_weight``;
``rank`` and ``alpha`` replace network_dim, conv_dim, network_alpha and conv_alpha."""

_SIZES = ("network_dim", "network_alpha", "conv_dim", "conv_alpha")
_NOT_OPTIONS = ("rank", "alpha", "learning_rate", "lr_weight")


@dataclass(frozen=True, init=False)
class LayerOverride(Section):
    """Settings for the layers whose path a pattern matches.

    Options that are not set keep the values that the config gives to all layers. If several
    overrides set an option for one layer, the first of them counts.
    """

    match: str = option(
        "",
        "A name or a regular expression that is searched for in the paths of layers, such as "
        "``unet.down_blocks.0.resnets.0.conv1``.",
    )
    network_dim: int | None = option(
        None, "Rank of the adapter in the layers of this table; 0: these get no adapter.", low=0
    )
    conv_dim: int | None = option(
        None,
        "Rank of the adapter in convolutions larger than 1x1 among the layers of this table, even "
        "if the preset does not adapt them; 0: these get no adapter.",
        unset="the network_dim of this table, for convolutions that are adapted anyway",
        low=0,
    )
    learning_rate: float | None = option(
        None,
        "Learning rate of the layers of this table, in place of their model's; 0: these layers get "
        "no adapter.",
        low=0,
        high=10,
    )
    lr_weight: float | None = option(
        None,
        "Factor by which the learning rate of the layers of this table is multiplied; 0: these "
        "layers get no adapter.",
        low=0,
    )

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except LycorisExtError as error:
            raise error.within(f'match = "{short(str(values.get("match", "")))}"') from error

    @classmethod
    def kind_options(cls) -> Iterable[Option]:
        """Return all options of a layer, with the default None: not set by this override."""
        declared_here = cls.__dataclass_fields__
        for known in LayerOptions.options().values():
            if known.name not in declared_here:
                yield replace(known, hint=known.hint | None, default=None, unset="")

    def contradictions(self) -> Iterator[LycorisExtError]:
        if not self.match:
            yield ConfigError(
                "a table of overrides has no match", fix='write match = "..." into it'
            )
        yield from pattern_faults(self.match)
        if len(self.changed()) == 1:
            yield ConfigError("it sets nothing", fix="add what is to be different")

    @property
    def where(self) -> str:
        """The name of this override in error messages."""
        return f'overrides, match = "{short(self.match)}"'

    def fits(self, name: str) -> bool:
        """Return True if the pattern is found in a layer's path with its model's name."""
        return pattern_fits(self.match, name)

    def settings(self, spatial: bool, adapted: bool) -> Settings:
        """Return what this override sets for one layer, with its sizes as "rank" and "alpha".

        Args:
            spatial: the layer is a convolution larger than 1x1.
            adapted: the layer has a rank without this override.
        """
        table = self.changed()
        del table["match"]
        sizes = {name: table.pop(name, None) for name in _SIZES}
        rank, alpha = sizes["network_dim"], sizes["network_alpha"]
        if spatial:
            conv_rank, conv_alpha = sizes["conv_dim"], sizes["conv_alpha"]
            if conv_rank is not None or not (adapted or rank == 0):
                rank = conv_rank
            alpha = conv_alpha if conv_alpha is not None else alpha
        sizes = {"rank": rank, "alpha": alpha}
        return table | {name: value for name, value in sizes.items() if value is not None}


def settings_for(
    overrides: Sequence[LayerOverride], name: str, spatial: bool, preset: Settings, rank: int
) -> tuple[Settings, dict[str, str]]:
    """Put together what the overrides and the preset set for one layer.

    For each setting the first override that has it counts, and any override before the preset.

    Args:
        overrides: of the config, in order.
        name: the layer's path with its model's name, in which patterns are searched.
        spatial: the layer is a convolution larger than 1x1.
        preset: what the preset sets for this layer.
        rank: the layer's rank without overrides and preset.

    Returns:
        The settings; and for each of them where it was set, for error messages: "preset" or the
        override's ``where``.
    """
    rank = preset.get("rank", rank)
    settings: Settings = {}
    set_by: dict[str, str] = {}
    for override in overrides:
        if override.fits(name):
            for setting, value in override.settings(spatial, rank > 0).items():
                if setting not in settings:
                    settings[setting], set_by[setting] = value, override.where
    set_by = {**dict.fromkeys(preset, "preset"), **set_by}
    return preset | settings, set_by


def options_with(options: LayerOptions, settings: Settings) -> LayerOptions:
    """Return a layer's options: ``options`` with the given settings in place of their values.

    Ranks, alphas and learning rates among the settings are left out; they are no layer options.

    Raises:
        ConfigError: the options contradict each other.
    """
    changed = {name: value for name, value in settings.items() if name not in _NOT_OPTIONS}
    return replace(options, **changed)
