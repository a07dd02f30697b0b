"""Configs that the window of kohya_ss saves: JSON with one key for each of its fields.

Numbers may be texts, "" and 0 mean "not set", and some fields (LoRA type, percent of warm-up,
epochs) become options only when kohya_ss calls sd-scripts.

Source: bmaltais/kohya_ss 45088f0, kohya_gui/lora_gui.py (train_model) and common_gui.py
(update_my_data), and the keys of its older presets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lycoris_ext.config.imports.command_line import read_flags
from lycoris_ext.config.imports.foreign import Foreign, Format
from lycoris_ext.errors import ConfigError
from lycoris_ext.files import expanded
from lycoris_ext.options import alternatives
from lycoris_ext.training.config import all_options
from lycoris_ext.words import names

PROGRAM = "kohya_ss"


TYPES = {
    "Standard": ("networks.lora", ""),
    "Kohya LoCon": ("networks.lora", ""),
    "Kohya DyLoRA": ("networks.dylora", ""),
    "Kohya LoHa": ("networks.loha", ""),
    "Kohya LoKr": ("networks.lokr", ""),
    "LoRA-FA": ("networks.lora_fa", ""),
    "Flux1": ("networks.lora_flux", ""),
    "Flux1 OFT": ("networks.oft_flux", ""),
    "HunyuanImage-2.1": ("networks.lora_hunyuan_image", ""),
    "Anima": ("networks.lora_anima", ""),
    "Lumina": ("networks.lora_lumina", ""),
    "LoCon": ("lycoris.kohya", "locon"),
    "LyCORIS/LoCon": ("lycoris.kohya", "locon"),
    "LyCORIS/LoHa": ("lycoris.kohya", "loha"),
    "LyCORIS/LoKr": ("lycoris.kohya", "lokr"),
    "LyCORIS/DyLoRA": ("lycoris.kohya", "dylora"),
    "LyCORIS/GLoRA": ("lycoris.kohya", "glora"),
    "LyCORIS/iA3": ("lycoris.kohya", "ia3"),
    "LyCORIS/Diag-OFT": ("lycoris.kohya", "diag-oft"),
    "LyCORIS/BOFT": ("lycoris.kohya", "boft"),
    "LyCORIS/Native Fine-Tuning": ("lycoris.kohya", "full"),
}
"""The field LoRA_type -> (network_module, algo of LyCORIS)."""

_COMMON = "conv_dim conv_alpha rank_dropout module_dropout"
_LOCON = f"{_COMMON} use_tucker bypass_mode dora_wd use_scalar rank_dropout_scale train_norm"
_ARGS_OF_ALGO = {
    "locon": _LOCON,
    "loha": _LOCON,
    "lokr": f"{_LOCON} factor decompose_both".replace("use_tucker", "use_tucker use_cp"),
    "dylora": f"{_COMMON} use_tucker train_norm unit",
    "glora": f"{_COMMON} use_tucker rank_dropout_scale train_norm",
    "ia3": "conv_dim conv_alpha train_on_input",
    "diag-oft": f"{_COMMON} use_tucker rank_dropout_scale constrain rescaled train_norm",
    "boft": f"{_COMMON} use_tucker rank_dropout_scale train_norm",
    "full": "rank_dropout module_dropout rank_dropout_scale train_norm",
}
_BLOCKS = (
    "down_lr_weight mid_lr_weight up_lr_weight block_lr_zero_threshold block_dims block_alphas "
    "conv_block_dims conv_block_alphas rank_dropout module_dropout"
)
_ARGS_OF_MODULE = {
    "networks.lora": _BLOCKS,
    "networks.lora_fa": _BLOCKS,
    "networks.dylora": f"{_BLOCKS} conv_dim conv_alpha unit",
    "networks.loha": "conv_dim conv_alpha use_tucker rank_dropout module_dropout",
    "networks.lokr": "conv_dim conv_alpha use_tucker factor rank_dropout module_dropout",
}
"""Fields that kohya_ss hands on as network_args; the others have no effect for that type."""

_RATIOS = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")
#: Fields that stand in network_args or are used up otherwise, or prepare data in other tabs.
_USED = frozenset(
    names(
        """
        LoRA_type LyCORIS_preset additional_parameters batch_size caption_metadata_filename
        conv_alphas conv_dims create_buckets create_caption dataset_repeats epoch full_path
        generate_caption_database generate_image_buckets image_folder init_word
        latent_metadata_filename lr_warmup max_resolution max_train_epochs max_train_steps
        no_token_padding num_vectors_per_token optimizer sdxl_cache_text_encoder_outputs
        sdxl_no_half_vae stop_text_encoder_training
        template token_string train_dir unit use_8bit_adam use_latent_files
        xformers
        """
    )
    + names(" ".join([*_ARGS_OF_ALGO.values(), *_ARGS_OF_MODULE.values(), *_RATIOS]))
)
_RENAMED = {"lora_network_weights": "network_weights"}
#: What the window shows in fields that a (shortened) file does not have.
_SHOWN = {
    "LoRA_type": "Standard",
    "LyCORIS_preset": "full",
    "caption_extension": ".txt",
    "enable_bucket": True,
    "learning_rate": 0.0001,
    "max_resolution": "512,512",
    "network_alpha": 1,
    "network_dim": 8,
    "save_precision": "fp16",
}
_FAMILIES = {
    "flux1_checkbox": "flux_train_network.py",
    "sd3_checkbox": "sd3_train_network.py",
    "hunyuan_image_checkbox": "hunyuan_image_train_network.py",
    "anima_checkbox": "anima_train_network.py",
    "lumina_checkbox": "lumina_train_network.py",
}
_OF_FAMILIES = ("ae", "clip_l", "clip_g", "t5xxl", "gemma2", "qwen3", "byt5")
#: The field noise_offset_type -> the options of the kind of noise that is not chosen.
NOISE = {
    "Original": ("multires_noise_iterations", "multires_noise_discount"),
    "Multires": ("noise_offset", "noise_offset_random_strength", "adaptive_noise_scale"),
}
_TEXTS = {str, tuple[str, ...]}
_PICTURES = (".jpg", ".jpeg", ".png", ".webp")


def _recognises(document: Mapping[str, Any]) -> bool:
    return "LoRA_type" in document or {"max_resolution", "lr_warmup"} <= document.keys()


def _read(document: Mapping[str, Any], where: str) -> Foreign:
    """Put the fields of the window in sd-scripts' words, as kohya_ss does when it starts it."""
    eight_bit = document.get("use_8bit_adam") in (True, "True")
    optimizer = {"optimizer": "AdamW8bit" if eight_bit else "AdamW"}
    fields = {n: _typed(n, v) for n, v in {**_SHOWN, **optimizer, **document}.items()}
    # kohya_ss hands nothing on that is empty, off or 0.
    fields = {n: v for n, v in fields.items() if v not in ("", False, None, [])}
    fields = {n: _SHOWN[n] for n in ("LoRA_type", "LyCORIS_preset", "max_resolution")} | fields
    values = {_RENAMED.get(n, n): v for n, v in fields.items() if n not in _USED}
    values |= _network(fields)
    values |= _rates(fields)
    values |= _length(fields)
    for name in NOISE.get(str(fields.get("noise_offset_type")), ()):
        values.pop(name, None)
    values["optimizer_type"] = fields.get("optimizer", "AdamW")
    values["resolution"] = fields["max_resolution"]
    for name in ("optimizer_args", "lr_scheduler_args"):
        if name in values:
            values[name] = str(values[name]).replace('"', "").split()
    if isinstance(values.get("sample_prompts"), str):
        lines = str(values["sample_prompts"]).splitlines()
        values["sample_prompts"] = [line for line in lines if line and not line.startswith("#")]
    if fields.get("sdxl") and fields.get("sdxl_cache_text_encoder_outputs"):
        values["cache_text_encoder_outputs"] = True
    scripts = [script for box, script in _FAMILIES.items() if fields.get(box)]
    if scripts:
        values["training_script"] = scripts[0]
    else:
        values = {n: v for n, v in values.items() if n not in _OF_FAMILIES}
    flags = read_flags(str(fields.get("additional_parameters", "")))
    return Foreign(PROGRAM, values | flags, _other_trainings(document, where))


def _other_trainings(document: Mapping[str, Any], where: str) -> tuple[ConfigError, ...]:
    """Say so if the file is from another tab of the window than the one for LoRA."""
    if "LoRA_type" in document or "network_dim" in document:
        return ()
    kind = "a textual inversion" if "num_vectors_per_token" in document else "a whole model"
    return (
        ConfigError(
            f"this config of {PROGRAM} trains {kind}",
            where=where,
            fix="save a config in its tab LoRA; here adapters are trained",
        ),
    )


def _typed(name: str, value: object) -> object:
    """Return the number or bool that a field's text says; names and paths stay the text they are.

    Such as output_name = "2024_05", which Python would read as 202405.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    known = all_options().get(_RENAMED.get(name, name))
    if known is not None and _TEXTS & set(alternatives(known.hint)):
        return text
    if text in ("True", "False"):
        return text == "True"
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    return int(number) if number.is_integer() and "." not in text and "e" not in text else number


def _network(fields: Mapping[str, object]) -> dict[str, object]:
    kind = str(fields["LoRA_type"])
    module, algo = TYPES.get(kind, (kind, ""))
    handed_on = names(_ARGS_OF_ALGO[algo] if algo else _ARGS_OF_MODULE.get(module, ""))
    if kind == "Kohya LoCon":
        handed_on += ["conv_dim", "conv_alpha"]
    given = {name: fields[name] for name in [*handed_on, *_RATIOS] if name in fields}
    if algo:
        given = {"algo": algo, "preset": fields["LyCORIS_preset"], **given}
    return {
        "network_module": module,
        "network_args": [f"{name}={value}" for name, value in given.items()],
    }


def _rates(fields: Mapping[str, object]) -> dict[str, object]:
    """Return which parts are trained: a rate of 0 takes a part out if the other one has a rate."""
    unet, text = fields.get("unet_lr"), fields.get("text_encoder_lr")
    return {
        **({"network_train_unet_only": True} if unet and not text else {}),
        **({"network_train_text_encoder_only": True} if text and not unet else {}),
    }


def _length(fields: Mapping[str, Any]) -> dict[str, object]:
    """Return the length of the run and of the warm-up, which kohya_ss computes from epochs."""
    steps, epochs = (_count(fields, n) for n in ("max_train_steps", "max_train_epochs"))
    found: dict[str, object] = {}
    if epochs:
        found["max_train_epochs"] = epochs
    if steps:
        found["max_train_steps"] = steps
    elif not epochs and not fields.get("dataset_config"):
        epoch = _count(fields, "epoch") or 1
        shown = _pictures_shown(str(fields.get("train_data_dir") or ""))
        batch = math.prod(
            _count(fields, n) or 1 for n in ("train_batch_size", "gradient_accumulation_steps")
        )
        regularised = 2 if fields.get("reg_data_dir") else 1
        if shown:
            steps = math.ceil(shown / batch * epoch * regularised)
            found["max_train_steps"] = steps
        else:
            found["max_train_epochs"] = epoch
    percent = _count(fields, "lr_warmup")
    if _count(fields, "lr_warmup_steps"):
        found["lr_warmup_steps"] = int(_count(fields, "lr_warmup_steps"))
    elif percent:
        share = percent / 100
        found["lr_warmup_steps"] = round(share * steps) if steps and not epochs else share
    return found


def _count(fields: Mapping[str, object], name: str) -> float:
    """Return a field's number; 0 if it has none, as kohya_ss does."""
    value = fields.get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return 0
    return value if 0 < value < 1e9 else 0


def _pictures_shown(folder: str) -> int:
    """Count the pictures of an epoch, repeats included; 0 if the folder is not there."""
    total = 0
    try:
        for inside in expanded(folder).iterdir() if folder else ():
            repeats = inside.name.partition("_")[0]
            if inside.is_dir() and repeats.isascii() and repeats.isdigit():
                pictures = sum(file.suffix.lower() in _PICTURES for file in inside.iterdir())
                total += int(repeats) * pictures
    # Without permission, too long, with a null character, in nobody's home: told when it trains.
    except (OSError, ValueError):
        return 0
    return total


FORMAT = Format(PROGRAM, _recognises, _read)
