"""The options of a network as arguments of sd-scripts' ``--network_args``."""

from __future__ import annotations

from lycoris_ext.network.config import NetworkConfig
from lycoris_ext.options import Option, holds_tables

#: Options of NetworkConfig that sd-scripts takes as flags, not in network_args.
OF_SCRIPTS = (
    "network_dim",
    "network_alpha",
    "network_train_unet_only",
    "network_train_text_encoder_only",
)
#: Arguments for LoRA+; in this library they are options of the optimizer.
RATIOS = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")
#: LyCORIS's old name of an option -> our option, which has the opposite value.
OLD_OPPOSITES = {"disable_conv_cp": "use_tucker"}


def network_options() -> dict[str, Option]:
    """Return the options that can be given in network_args, by each of their names and aliases.

    ``overrides`` is left out, because tables cannot be written as name=value; users of sd-scripts
    write a preset file instead (preset=my.toml).
    """
    return {
        spelling: known
        for name, known in NetworkConfig.options().items()
        if name not in OF_SCRIPTS and not holds_tables(known.hint)
        for spelling in (name, *known.aliases)
    }


def as_network_args(config: NetworkConfig) -> dict[str, str]:
    """Return the options that differ from their defaults, as name -> text for ``--network_args``.

    algo, preset and conv_dim are always included, because LyCORIS has other defaults for them.
    """
    rank, _ = config.dims(spatial=True)
    named = {"algo": config.algo, "preset": config.preset, "conv_dim": rank}
    values = {**named, **config.changed(), "conv_dim": rank}
    return {
        name: ",".join(values[name]) if isinstance(values[name], tuple) else str(values[name])
        for name in network_options()
        if name in values
    }


def split_list(text: str) -> tuple[str, ...]:
    """Split a list that is written with commas into its texts, without spaces around them."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
