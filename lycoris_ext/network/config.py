"""The options of a network, under the names of sd-scripts and LyCORIS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.network.layer_options import LayerOptions
from lycoris_ext.network.overrides import LayerOverride, options_with
from lycoris_ext.network.presets import PRESETS, is_preset_file
from lycoris_ext.options import option
from lycoris_ext.patterns import MOST, pattern_faults


@dataclass(frozen=True, init=False)
class NetworkConfig(LayerOptions):
    """What is trained: the algorithm, its sizes, and the layers that get an adapter."""

    preset: str = option(
        "full",
        "Which layers get an adapter. In a config file this may also be the path of a LyCORIS "
        "preset file (.toml).",
        choices=tuple(PRESETS),
        is_path=True,
    )
    train_norm: bool = option(False, "Also train the weights and biases of normalisation layers.")
    overrides: tuple[LayerOverride, ...] = option(
        (),
        "Tables of settings for some of the layers. In each, ``match`` is a name or a regular "
        "expression that is searched for in the paths of layers; learning_rate, lr_weight and any "
        "options of a layer (algo, network_dim, conv_dim, dropout, ...) are set for the layers "
        "that it finds. If several tables set an option for one layer, the first of them counts.",
    )
    include: tuple[str, ...] = option(
        (),
        "Layers that get an adapter in addition to those of the preset: names or regular "
        "expressions that are searched for in paths like ``unet.down_blocks.0.resnets.0.conv1``.",
    )
    exclude: tuple[str, ...] = option(
        (),
        "Layers of the preset that get no adapter: names or regular expressions that are searched "
        "for in paths like ``unet.down_blocks.0.resnets.0.conv1``.",
    )
    network_train_unet_only: bool = option(
        False, "Train only the U-Net; the text encoder stays unchanged."
    )
    network_train_text_encoder_only: bool = option(
        False, "Train only the text encoder; the U-Net stays unchanged."
    )

    def contradictions(self) -> Iterator[LycorisExtError]:
        faults = list(super().contradictions())
        yield from faults
        if not (self.preset in PRESETS or is_preset_file(self.preset)):
            yield ConfigError(
                f"unknown preset {self.preset!r}",
                where="preset",
                fix=f"use one of {', '.join(PRESETS)}, or the path of a .toml file",
            )
        if self.network_train_unet_only and self.network_train_text_encoder_only:
            yield ConfigError(
                "network_train_unet_only and network_train_text_encoder_only exclude each other",
                fix="set one of them, or neither to train both",
            )
        patterns = len(self.include) + len(self.exclude) + len(self.overrides)
        if patterns > MOST:
            yield ConfigError(
                f"there are {patterns:,} patterns of layers, and at most {MOST:,} are read",
                where="include, exclude and overrides",
                fix="write one pattern for several layers",
            )
            return
        for name in ("include", "exclude"):
            for pattern in getattr(self, name):
                yield from (error.within(name) for error in pattern_faults(pattern))
        for override in () if faults else self.overrides:
            try:
                options_with(self.layer_defaults, override.settings(spatial=False, adapted=True))
            except LycorisExtError as error:
                yield error.within(override.where)

    @cached_property
    def layer_defaults(self) -> LayerOptions:
        """The options of every layer for which neither an override nor the preset sets others."""
        return LayerOptions.taken_from(self)

    def trains(self, norm: bool) -> bool:
        """Return True if layers of one kind may be adapted.

        Args:
            norm: ask about normalisations; False asks about Linear and convolution layers.
        """
        only_norms = self.algorithm.of_norms
        return (self.train_norm or only_norms) if norm else not only_norms
