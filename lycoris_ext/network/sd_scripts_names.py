"""The names that ``--network_args`` of sd-scripts has for what is trained."""

from __future__ import annotations

from dataclasses import fields

from lycoris_ext.network.config import NetworkConfig

#: Options of NetworkConfig that are options of the scripts themselves.
OF_SCRIPTS = (
    "network_dim",
    "network_alpha",
    "network_train_unet_only",
    "network_train_text_encoder_only",
)
#: Those without a text form; a preset file (preset=my.toml) says the same.
NO_TEXT = ("overrides",)
#: LoRA+'s, which are the optimizer's here.
RATIOS = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")
NETWORK_ARGS = (
    *(f.name for f in fields(NetworkConfig) if f.name not in (*OF_SCRIPTS, *NO_TEXT)),
    *RATIOS,
)
#: LyCORIS's older names.
OLD_NAMES = {"use_cp": "use_tucker", "use_conv_cp": "use_tucker", "constrain": "constraint"}
#: And one that says the opposite.
OLD_OPPOSITES = {"disable_conv_cp": "use_tucker"}
#: Lists of texts, between commas.
LISTS = ("include", "exclude")


def split_list(text: str) -> tuple[str, ...]:
    """The texts between the commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
