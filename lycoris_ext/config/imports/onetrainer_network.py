"""OneTrainer's network: its algorithm, sizes and layers, and what of the text encoders is trained.

Source: https://github.com/Nerogar/OneTrainer at 23df383, LoRAModule.py and the models' setups.
"""

from __future__ import annotations

import re

from lycoris_ext.config.imports.settings import Settings, flag, number, whole
from lycoris_ext.config.imports.unet_layers import leave_out_others

SDXL = "STABLE_DIFFUSION_XL_10_BASE"

_LOKR: dict[str, tuple[str, object]] = {
    "lokr_decompose_both": ("decompose_both", False),
    "lokr_decompose_factor": ("factor", -1),
    "lokr_use_tucker": ("use_tucker", False),
    "lokr_full_matrix": ("full_matrix", False),
}

_FILTERS = {"attn-mlp": "attentions", "attn-only": "attn"}


def read_network(settings: Settings) -> None:
    values = settings.values
    kind = settings.take_word("peft_type", "LORA")
    values["network_dim"] = settings.take_as(whole, "lora_rank", 16)
    values["network_alpha"] = settings.take_as(number, "lora_alpha", 1.0)
    dora = settings.take_as(flag, "lora_decompose", False)
    on_output = settings.take_as(flag, "lora_decompose_output_axis", False)
    if kind == "LORA":
        values["algo"] = "locon"  # a LoRA that also adapts convolutions larger than 1x1
    elif kind == "LOHA":
        values["algo"] = "loha"
        dora = False
    elif kind == "LOKR":
        values["algo"] = "lokr"
        values["network_dim"] = settings.take_as(whole, "lokr_dim", 16)
        for name, (option, default) in _LOKR.items():
            values[option] = settings.take(name, default)
        dora = settings.take_as(flag, "lokr_weight_decompose", False)
        on_output = settings.take_as(flag, "lokr_dora_on_output", True)
    else:
        dora = False
        values["algo"] = "diag-oft"
        values["network_dim"] = settings.take_as(whole, "oft_block_size", 32)
        settings.refuse(
            "peft_type",
            kind,
            f'use algo = "diag-oft" with network_dim = {values["network_dim"]}, the size of a '
            "block; it rotates the outputs of layers instead of their inputs",
        )
    if dora:
        values |= {"dora_wd": True, "wd_on_output": on_output}


def read_layers(settings: Settings, family: str) -> None:
    """Read which layers of the U-Net are adapted; text encoders are adapted as a whole.

    OneTrainer goes by the filter; its presets are names for filters.
    """
    preset = settings.take_word("layer_filter_preset", "full")
    chosen = settings.take_word("layer_filter") or _FILTERS.get(preset, "")
    is_regex = settings.take_as(flag, "layer_filter_regex", False)
    filters = [part.strip() for part in chosen.split(",")]
    if chosen == _FILTERS["attn-mlp"]:
        settings.values["preset"] = "attn-mlp"
    elif not all(filters):  # an empty filter fits all layers
        if family == SDXL:
            settings.values["include"] = [r"^unet\.add_embedding\."]
    else:
        patterns = filters if is_regex else [re.escape(part) for part in filters]
        settings.values["exclude"] = [leave_out_others(patterns)]


def read_text_encoders(settings: Settings, family: str) -> None:
    values = settings.values
    encoders = ("text_encoder", "text_encoder_2") if family == SDXL else ("text_encoder",)
    trained = [name for name in encoders if settings.take_as(flag, f"{name}.train", True)]
    values["network_train_unet_only"] = not trained
    values["network_train_text_encoder_only"] = not settings.take_as(flag, "unet.train", True)
    if 0 < len(trained) < len(encoders):
        (other,) = set(encoders) - set(trained)
        values["exclude"] = [*values.get("exclude", ()), rf"^{other}\."]
    if family == SDXL and "text_encoder_2" in trained:
        values["include"] = [*values.get("include", ()), r"^text_encoder_2\.text_projection$"]
    epochs = settings.take_as(whole, "epochs", 100)
    values["max_train_epochs"] = epochs
    for name in ("unet", *trained):
        default, usual = (0.0, "NEVER") if name == "unet" else (30.0, "EPOCH")
        after = settings.take_as(number, f"{name}.stop_training_after", default)
        unit = settings.take_word(f"{name}.stop_training_after_unit", usual)
        if unit != "NEVER" and not (unit == "EPOCH" and after >= epochs):
            settings.refuse(
                f"{name}.stop_training_after",
                f"{after:g} {unit}",
                "train it in the whole run at a lower unet_lr or text_encoder_lr, or not at all: "
                "network_train_unet_only = true",
            )
    rates = [settings.take_as(number, f"{name}.learning_rate", -1.0) for name in trained]
    if len(set(rates)) > 1 and min(rates) >= 0:
        settings.values["text_encoder_lr"] = rates
    elif len(set(rates)) > 1:
        settings.refuse(
            "text_encoder.learning_rate, text_encoder_2.learning_rate",
            rates,
            "set both of them, or none",
        )
    elif rates and rates[0] >= 0:
        settings.left["text_encoder.learning_rate"] = rates[0]
    skip = settings.take_as(whole, "text_encoder_layer_skip", 0)
    if family != SDXL:
        values["clip_skip"] = 1 + skip
    elif skip:
        settings.refuse("text_encoder_layer_skip", skip, "set it to 0, as SDXL was trained")
    dropouts = [settings.take_as(number, f"{name}.dropout_probability", 0.0) for name in encoders]
    if len(set(dropouts)) > 1 or (family == SDXL and any(dropouts)):
        settings.refuse(
            "text_encoder.dropout_probability",
            dropouts,
            "use caption_dropout_rate, which drops the caption for both text encoders at once",
        )
    elif dropouts[0]:
        values["caption_dropout_rate"] = dropouts[0]
