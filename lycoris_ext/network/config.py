"""The options of a network, under sd-scripts' and LyCORIS's names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.network.layer_options import LayerOptions
from lycoris_ext.network.overrides import LayerOverride, own_options, pattern_faults
from lycoris_ext.network.presets import PRESETS, is_preset_file
from lycoris_ext.options import option


@dataclass(frozen=True, init=False)
class NetworkConfig(LayerOptions):
    """What is trained: the algorithm, its sizes, and the layers that it adapts."""

    preset: str = option(
        "full",
        "Which layers are adapted. In a config it may also be the path of a LyCORIS preset file "
        "(.toml).",
        choices=tuple(PRESETS),
        is_path=True,
    )
    train_norm: bool = option(False, "Train the weights of normalisation layers, too.")
    overrides: tuple[LayerOverride, ...] = option(
        (),
        "Tables with other settings for some layers: ``match`` is a name or a regular expression "
        "that is searched for in the paths of layers; beside it stand learning_rate, lr_weight and "
        "any options of a layer, such as algo, network_dim, conv_dim and dropout. Where several "
        "tables fit a layer, the first one that sets an option decides on it.",
    )
    include: tuple[str, ...] = option(
        (),
        "Layers that are adapted beside those of the preset: names or regular expressions that are "
        "searched for in paths like ``unet.down_blocks.0.resnets.0.conv1``.",
    )
    exclude: tuple[str, ...] = option(
        (),
        "Layers of the preset that are not adapted: names or regular expressions that are searched "
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
        for name in ("include", "exclude"):
            for pattern in getattr(self, name):
                yield from (error.within(name) for error in pattern_faults(pattern))
        for override in () if faults else self.overrides:
            try:
                own_options(self.of_layers, override.settings(spatial=False, adapted=True))
            except LycorisExtError as error:
                yield error.within(override.where)

    @cached_property
    def of_layers(self) -> LayerOptions:
        """The options of a layer that neither overrides nor the preset say anything of."""
        return LayerOptions.taken_from(self)

    def trains(self, norm: bool) -> bool:
        """Whether normalisations are adapted, or, without ``norm``, all other layers."""
        alone = self.algorithm.of_norms
        return (self.train_norm or alone) if norm else not alone
