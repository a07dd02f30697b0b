"""Other settings for some of the layers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.network.layer_options import LayerOptions
from lycoris_ext.options import Option, Section, option

Settings = dict[str, Any]
"""What one layer has of its own: names of LayerOptions, except that ``rank`` and ``alpha`` stand
for its four sizes, and ``learning_rate`` and ``lr_weight``."""

_SIZES = ("network_dim", "network_alpha", "conv_dim", "conv_alpha")
_NOT_OPTIONS = ("rank", "alpha", "learning_rate", "lr_weight")


@dataclass(frozen=True, init=False)
class LayerOverride(Section):
    """Settings for the layers that a pattern fits; what is unset stays as it is for all.

    Where several fit a layer, the first one that sets a thing decides on it.
    """

    match: str = option(
        "",
        "A name or a regular expression that is searched for in the paths of layers, such as "
        "``unet.down_blocks.0.resnets.0.conv1``.",
    )
    network_dim: int | None = option(
        None, "Rank of the adapter in these layers; 0: they are not adapted.", low=0
    )
    conv_dim: int | None = option(
        None,
        "Rank of the adapter in those of these layers that are convolutions larger than 1x1, "
        "whether the preset adapts them or not; 0: they are not adapted.",
        unset="network_dim for those that are adapted anyway",
        low=0,
    )
    learning_rate: float | None = option(
        None,
        "Learning rate of these layers, instead of that of the model that they belong to; 0: they "
        "are not adapted.",
        low=0,
        high=10,
    )
    lr_weight: float | None = option(
        None, "Times the learning rate that these layers have; 0: they are not adapted.", low=0
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except LycorisExtError as error:
            raise error.within(f'match = "{values.get("match", "")}"') from error

    @classmethod
    def kind_options(cls) -> Iterable[Option]:
        """All options of a layer, unset."""
        own = cls.__dataclass_fields__
        for known in LayerOptions.options().values():
            if known.name not in own:
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
        """How messages name it."""
        return f'overrides, match = "{self.match}"'

    def fits(self, name: str) -> bool:
        return re.search(self.match, name) is not None

    def settings(self, spatial: bool, adapted: bool) -> Settings:
        """What it says of one layer.

        Args:
            spatial: the layer's kernel is larger than 1x1.
            adapted: it has a rank without this override.
        """
        table = self.changed()
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


def own_options(options: LayerOptions, settings: Settings) -> LayerOptions:
    """The options of a layer that has settings of its own.

    Raises:
        ConfigError: they contradict each other.
    """
    own = {name: value for name, value in settings.items() if name not in _NOT_OPTIONS}
    return replace(options, **own)


def pattern_faults(pattern: str) -> Iterator[ConfigError]:
    """What is wrong with a regular expression, if something is."""
    try:
        re.compile(pattern)
    except re.error as error:
        yield ConfigError(
            f"{pattern!r} is no regular expression ({error})",
            fix="put a backslash before brackets and other signs that are meant as they are",
        )
