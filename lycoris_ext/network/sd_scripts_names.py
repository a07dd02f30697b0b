"""The names that ``--network_args`` of sd-scripts has for what is trained."""

from __future__ import annotations

from lycoris_ext.network.config import NetworkConfig
from lycoris_ext.options import Option, holds_tables

#: Options of NetworkConfig that are options of the scripts themselves.
OF_SCRIPTS = (
    "network_dim",
    "network_alpha",
    "network_train_unet_only",
    "network_train_text_encoder_only",
)
#: LoRA+'s, which are the optimizer's here.
RATIOS = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")
#: LyCORIS's older name that says the opposite.
OLD_OPPOSITES = {"disable_conv_cp": "use_tucker"}


def network_options() -> dict[str, Option]:
    """The options of a network that are arguments there, by each of their names.

    Tables have no text form: a preset file (preset=my.toml) says the same as overrides.
    """
    return {
        spelling: known
        for name, known in NetworkConfig.options().items()
        if name not in OF_SCRIPTS and not holds_tables(known.hint)
        for spelling in (name, *known.aliases)
    }


def as_network_args(config: NetworkConfig) -> dict[str, str]:
    """The options that are not as they are by default, as texts of ``--network_args``.

    The algorithm, the preset and the rank of convolutions are always among them: there they have
    other defaults.
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
    """The texts between the commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
