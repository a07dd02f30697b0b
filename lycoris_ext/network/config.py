"""The knobs of a network, under sd-scripts' and LyCORIS's names."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from math import inf

from lycoris_ext.algorithms import Options, algorithm, algorithm_names
from lycoris_ext.errors import ConfigError
from lycoris_ext.modules import Dropouts
from lycoris_ext.network.overrides import LayerOverride, Settings, check_pattern
from lycoris_ext.network.preset_file import read_preset

# LoCon is LoRA with a rank on convolutions too.
_ALIASES = {"locon": "lora"}


@dataclass(frozen=True)
class NetworkConfig:
    """What is trained.

    Attributes:
        algo: lora, locon, dylora, tlora, loha, lokr, glora, diag-oft, boft, ia3, full or norm
            (nothing but normalisations).
        network_dim: rank of Linear layers and 1x1 convolutions.
        network_alpha: their alpha; the update is scaled by alpha / rank.
        conv_dim: rank of larger convolutions; unset: none for lora, network_dim for the others;
            0: none.
        conv_alpha: their alpha; unset: network_alpha.
        preset: which layers: full, full-lin, attn-mlp, attn-only, unet-only,
            unet-transformer-only, unet-convblock-only or ia3; or the path of a LyCORIS preset file
            (.toml).
        dropout: on each element of the update.
        rank_dropout: on each row of the update.
        rank_dropout_scale: make up for the rows that rank_dropout took: divide the others by the
            share that is left.
        module_dropout: on the whole update of a layer.
        use_tucker: factor kernels larger than 1x1 with a core of their own.
        use_scalar: a trained scalar per layer that starts at zero.
        factor: how LoKr splits widths: one of the two factors where it divides the width; -1: as
            square as possible.
        decompose_both: LoKr stores its first factor as a product too, where that is smaller.
        full_matrix: LoKr stores both factors as they are, whatever decompose_both says.
        unbalanced_factorization: LoKr gives the larger part of the outputs to its first factor.
        dora_wd: learn the length of each channel apart from its direction (DoRA).
        wd_on_output: of each output channel, instead of each input channel; ComfyUI computes the
            output form wrongly.
        train_on_input: IA3 scales input channels, instead of output channels.
        constraint: how far diag-oft and boft may turn a weight; 0: as far as they like.
        rescaled: diag-oft and boft train a length for each output channel, too.
        rs_lora: scale by alpha / sqrt(rank) instead (rank-stabilised).
        block_size: dylora trains so many ranks at a time.
        train_norm: train the weights of normalisation layers, too.
        bypass_mode: always go through thin activations, never through a weight of the layer's
            size; for algorithms that have such a way.
        overrides: tables, one for each kind of layer that is to be different: ``match`` is a name
            or a regular expression over paths, the rest is what is different there: algo,
            network_dim, network_alpha, conv_dim, conv_alpha, learning_rate, lr_weight and most
            options of this section. Of several that fit a layer, the first one that sets a thing
            decides on it.
        include: names or regular expressions over paths like
            ``unet.down_blocks.0.resnets.0.conv1``: layers added to the preset's.
        exclude: likewise, layers taken away.
        network_train_unet_only, network_train_text_encoder_only: leave the other one alone.
    """

    algo: str = "loha"
    network_dim: int = 8
    network_alpha: float = 1.0
    conv_dim: int | None = None
    conv_alpha: float | None = None
    preset: str = "full"
    dropout: float = 0.0
    rank_dropout: float = 0.0
    rank_dropout_scale: bool = False
    module_dropout: float = 0.0
    use_tucker: bool = False
    use_scalar: bool = False
    factor: int = -1
    decompose_both: bool = False
    full_matrix: bool = False
    unbalanced_factorization: bool = False
    dora_wd: bool = False
    wd_on_output: bool = False
    train_on_input: bool = False
    constraint: float = 0.0
    rescaled: bool = False
    rs_lora: bool = False
    block_size: int = 4
    train_norm: bool = False
    bypass_mode: bool = False
    overrides: tuple[LayerOverride, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    network_train_unet_only: bool = False
    network_train_text_encoder_only: bool = False

    def __post_init__(self) -> None:
        known = sorted({*algorithm_names(), *_ALIASES})
        if self.algo not in known:
            raise ConfigError(
                f"unknown algorithm {self.algo!r}", where="algo", fix=f"use one of {known}"
            )
        if self.network_dim < 1:
            raise ConfigError(f"is {self.network_dim}", where="network_dim", fix="use 1 or more")
        if self.conv_dim is not None and self.conv_dim < 0:
            raise ConfigError(
                f"is {self.conv_dim}", where="conv_dim", fix="use 0 for none, or more"
            )
        for name in ("network_alpha", "conv_alpha"):
            value = getattr(self, name)
            if value is not None and not 0 < value < inf:
                raise ConfigError(f"is {value}", where=name, fix="use a number above 0")
        if self.network_train_unet_only and self.network_train_text_encoder_only:
            raise ConfigError(
                "network_train_unet_only and network_train_text_encoder_only exclude each other",
                fix="set one of them, or neither to train both",
            )
        if self.factor != -1 and self.factor < 1:
            raise ConfigError(
                f"is {self.factor}", where="factor", fix="use -1 for square, or 1 or more"
            )
        self._check_options()
        for pattern in (*self.include, *self.exclude):
            check_pattern(pattern, "include/exclude")
        preset = read_preset(self.preset)
        for told in (preset.class_settings, preset.name_settings):
            for pattern, settings in told.items():
                self._check_settings(settings, f"{self.preset}, {pattern}")
        for override in self.overrides:
            self._check_settings(override.settings(spatial=False, adapted=True), override.where)

    def _check_options(self) -> None:
        if self.block_size < 1:
            raise ConfigError(f"is {self.block_size}", where="block_size", fix="use 1 or more")
        if not self.constraint >= 0:
            raise ConfigError(
                f"is {self.constraint}", where="constraint", fix="use 0 for none, or more"
            )
        if self.wd_on_output and not self.dora_wd:
            raise ConfigError(
                "wd_on_output says where DoRA's magnitudes are, and dora_wd is false",
                where="wd_on_output",
                fix="set dora_wd = true, or remove wd_on_output",
            )
        _ = self.dropouts  # checks them

    def _check_settings(self, settings: Settings, where: str) -> None:
        try:
            self.with_settings(settings)
        except ConfigError as error:
            raise ConfigError(
                f"{error.where}: {error.what}" if error.where else error.what,
                where=where,
                fix=error.fix,
            ) from error

    def with_settings(self, settings: Settings) -> NetworkConfig:
        """This config with other settings for one layer; of sizes and rates it says nothing."""
        own = {name: value for name, value in settings.items() if name in _FIELDS}
        return replace(self, overrides=(), preset="full", **own)

    @property
    def algorithm_name(self) -> str:
        return algorithm(_ALIASES.get(self.algo, self.algo)).name

    def trains(self, norm: bool) -> bool:
        """Whether normalisations are adapted, or, without ``norm``, all other layers."""
        alone = self.algorithm_name == "norm"
        return (self.train_norm or alone) if norm else not alone

    @property
    def options(self) -> Options:
        """What the algorithm reads."""
        return Options(**{field.name: getattr(self, field.name) for field in fields(Options)})

    @property
    def dropouts(self) -> Dropouts:
        return Dropouts(
            self.dropout, self.rank_dropout, self.module_dropout, self.rank_dropout_scale
        )

    def dims(self, spatial: bool) -> tuple[int, float]:
        """(rank, alpha) of a layer; rank 0 means that it is not adapted."""
        if not spatial:
            return self.network_dim, self.network_alpha
        default = 0 if self.algo == "lora" else self.network_dim
        rank = default if self.conv_dim is None else self.conv_dim
        return rank, self.network_alpha if self.conv_alpha is None else self.conv_alpha


_FIELDS = frozenset(field.name for field in fields(NetworkConfig))
