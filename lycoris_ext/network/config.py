"""The knobs of a network, under sd-scripts' and LyCORIS's names."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from lycoris_ext.algorithms import Options, algorithm, algorithm_names
from lycoris_ext.errors import ConfigError
from lycoris_ext.network.presets import PRESETS

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
        preset: which layers, see PRESETS.
        dropout: on each element of the update.
        rank_dropout: on each row of the update.
        module_dropout: on the whole update of a layer.
        use_tucker: factor kernels larger than 1x1 with a core of their own.
        use_scalar: a trained scalar per layer that starts at zero.
        factor: how LoKr splits widths: one of the two factors where it divides the width; -1: as
            square as possible.
        decompose_both: LoKr stores its first factor as a product too, where that is smaller.
        full_matrix: LoKr stores both factors as they are.
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
        if self.preset not in PRESETS:
            raise ConfigError(
                f"unknown preset {self.preset!r}",
                where="preset",
                fix=f"use one of {sorted(PRESETS)}",
            )
        if self.network_dim < 1:
            raise ConfigError(f"is {self.network_dim}", where="network_dim", fix="use 1 or more")
        if self.conv_dim is not None and self.conv_dim < 0:
            raise ConfigError(
                f"is {self.conv_dim}", where="conv_dim", fix="use 0 for none, or more"
            )
        for name in ("network_alpha", "conv_alpha"):
            value = getattr(self, name)
            if value is not None and not value > 0:
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
        if not self.constraint >= 0:
            raise ConfigError(
                f"is {self.constraint}", where="constraint", fix="use 0 for none, or more"
            )
        if self.block_size < 1:
            raise ConfigError(f"is {self.block_size}", where="block_size", fix="use 1 or more")
        for pattern in (*self.include, *self.exclude):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ConfigError(
                    f"{pattern!r} is no regular expression ({error})", where="include/exclude"
                ) from error

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

    def dims(self, spatial: bool) -> tuple[int, float]:
        """(rank, alpha) of a layer; rank 0 means that it is not adapted."""
        if not spatial:
            return self.network_dim, self.network_alpha
        default = 0 if self.algo == "lora" else self.network_dim
        rank = default if self.conv_dim is None else self.conv_dim
        return rank, self.network_alpha if self.conv_alpha is None else self.conv_alpha
