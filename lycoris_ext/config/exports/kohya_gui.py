"""Write a config as the JSON that the window of kohya_ss loads.

kohya_ss starts sd-scripts with the values of its fields and, behind them, with the text of its
field "Additional parameters". That text names our network module with its arguments, and every
option for which the window has no field.

Source: bmaltais/kohya_ss 45088f0, kohya_gui/lora_gui.py and common_gui.py.
"""

from __future__ import annotations

import json
from typing import Any

from lycoris_ext.config.exports.exported import Exported, Target
from lycoris_ext.config.exports.sd_scripts import translate
from lycoris_ext.config.imports.kohya_gui import NOISE, TYPES
from lycoris_ext.errors import ConfigError
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.words import names

#: Fields of the window that are options of sd-scripts, by their names there.
_FIELDS = names(
    """
    adaptive_noise_scale bucket_no_upscale bucket_reso_steps cache_latents cache_latents_to_disk
    caption_dropout_every_n_epochs caption_dropout_rate caption_extension clip_skip
    dataset_config debiased_estimation_loss dim_from_weights enable_bucket flip_aug
    gradient_accumulation_steps gradient_checkpointing huber_c huber_schedule huber_scale
    ip_noise_gamma ip_noise_gamma_random_strength keep_tokens learning_rate log_with logging_dir
    loss_type lr_scheduler lr_scheduler_num_cycles lr_scheduler_power max_bucket_reso
    max_data_loader_n_workers max_grad_norm max_timestep max_train_epochs max_train_steps
    metadata_author metadata_description metadata_license metadata_tags metadata_title
    min_bucket_reso min_snr_gamma min_timestep mixed_precision multires_noise_discount
    multires_noise_iterations network_alpha network_dim noise_offset
    noise_offset_random_strength output_dir output_name pretrained_model_name_or_path
    prior_loss_weight reg_data_dir sample_every_n_epochs sample_every_n_steps sample_prompts
    sample_sampler save_every_n_epochs save_every_n_steps save_last_n_epochs save_last_n_steps
    save_precision
    scale_v_pred_loss_like_noise_pred scale_weight_norms seed shuffle_caption text_encoder_lr
    train_batch_size train_data_dir training_comment unet_lr v2 v_parameterization
    v_pred_like_loss vae
    """
)
_RENAMED = {
    "network_weights": "lora_network_weights",
    "optimizer_type": "optimizer",
    "resolution": "max_resolution",
}
#: Our algorithm -> what the window shows as the type of the LoRA.
_TYPES = {algo: kind for kind, (_, algo) in TYPES.items() if algo}


def export(config: TrainConfig, target: Target) -> Exported:
    """Return a config as the file that kohya_ss loads, and the files that it names.

    Args:
        config: of a run.
        target: where the files will be written.
    """
    made = translate(config, target)
    unsupported = list(made.unsupported)
    fields: dict[str, Any] = {
        "LoRA_type": _TYPES.get(config.network.algo, "LyCORIS/LoCon"),
        "lr_warmup": 0,
        "noise_offset_type": "Multires" if config.loss.multires_noise_iterations else "Original",
    }
    not_used = NOISE[fields["noise_offset_type"]]
    flags: list[str] = []
    for name, value in {**made.values, **_rates(config)}.items():
        text = " ".join(map(str, value)) if name == "optimizer_args" else value
        if name in _RENAMED or name == "optimizer_args":
            fields[_RENAMED.get(name, name)] = text
        elif _has_field(name, value) and name not in not_used:
            fields[name] = value
        else:
            flags += _flag(name, value, unsupported)
    fields["additional_parameters"] = " ".join(flags)
    text = json.dumps(fields, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    return Exported({target.main: text, **made.files}, tuple(unsupported))


def _rates(config: TrainConfig) -> dict[str, float]:
    """Return both rates if one is set: of one alone the window takes the other part out."""
    optimizer = config.optimizer
    if optimizer.unet_lr is None and optimizer.text_encoder_lr is None:
        return {}
    return {
        "unet_lr": optimizer.effective_unet_lr,
        "text_encoder_lr": optimizer.text_encoder_rates[0],
    }


def _has_field(name: str, value: Any) -> bool:
    """Whether the window has a field for an option and hands this value on, which it does not
    with 0 and with a share of the steps."""
    if name == "lr_warmup_steps":
        return bool(value >= 1)
    return name in _FIELDS and (bool(value) or value is False)


def _flag(name: str, value: Any, unsupported: list[ConfigError]) -> list[str]:
    """Write an option as words of a command; kohya_ss splits them at spaces, without quotes."""
    if value is True:
        return [f"--{name}"]
    if value is False:
        return []
    words = [str(word) for word in value] if isinstance(value, (list, tuple)) else [str(value)]
    wrong = [word for word in words if not word or any(c.isspace() or c in "\"'" for c in word)]
    if wrong:
        unsupported.append(
            ConfigError(
                f"kohya_ss cannot pass on {wrong[0]!r}, which has spaces or quotes",
                where=name,
                fix="use a value without them, or --to sd-scripts",
            )
        )
        return []
    return [f"--{name}", *words] if len(words) > 1 else [f"--{name}={words[0]}"]
