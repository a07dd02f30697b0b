"""The network_args that the kohya_ss GUI writes for its LyCORIS types, with its own defaults.

Source: kohya_ss 45088f0, kohya_gui/lora_gui.py.
"""

from __future__ import annotations

_SIZES = "preset=full conv_dim=4 conv_alpha=1"
_DROPOUTS = "rank_dropout=0 module_dropout=0 rank_dropout_scale=False"
_PLAIN = f"{_SIZES} use_tucker=False {_DROPOUTS} bypass_mode=False dora_wd=False use_scalar=False"

GUI_ARGUMENTS: dict[str, str] = {
    "locon": f"{_PLAIN} algo=locon train_norm=False",
    "loha": f"{_PLAIN} algo=loha train_norm=False",
    "lokr": f"{_PLAIN} factor=-1 use_cp=False decompose_both=False algo=lokr train_norm=False",
    "dylora": f"{_SIZES} use_tucker=False block_size=1 rank_dropout=0 module_dropout=0 "
    "algo=dylora train_norm=False",
    "glora": f"{_SIZES} use_tucker=False {_DROPOUTS} algo=glora train_norm=False",
    "ia3": f"{_SIZES} train_on_input=True algo=ia3",
    "diag-oft": f"{_SIZES} use_tucker=False {_DROPOUTS} constraint=0.0 rescaled=False "
    "algo=diag-oft train_norm=False",
    "boft": f"{_SIZES} use_tucker=False {_DROPOUTS} algo=boft train_norm=False",
    "full": f"preset=full {_DROPOUTS} algo=full train_norm=False",
}

#: The choices of the field "LyCORIS Preset".
GUI_PRESETS = (
    "attn-mlp", "attn-only", "full", "full-lin", "unet-transformer-only", "unet-convblock-only",
)  # fmt: skip
