"""ai-toolkit: its job files, as YAML or JSON.

Source: https://github.com/ostris/ai-toolkit at 27a03a9, toolkit/config_modules.py (settings and
their defaults), lora_special.py (which layers), optimizer.py, scheduler.py, BaseSDTrainProcess.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lycoris_ext.config.imports import fixes
from lycoris_ext.config.imports.ai_toolkit_data import read_datasets, read_samples
from lycoris_ext.config.imports.foreign import Foreign, Format
from lycoris_ext.config.imports.settings import (
    NOTHING,
    Rule,
    Settings,
    all_of,
    as_arguments,
    becomes,
    flag,
    number,
    only,
    text,
    whole,
    whole_from_1,
)
from lycoris_ext.config.imports.unet_layers import leave_out_others

PROGRAM = "ai-toolkit"

_TRAINERS = ("sd_trainer", "ui_trainer", "diffusion_trainer", "fine_tune")
_TRAINED = ("sd1", "sd15", "sd2", "sdxl")
_OTHER_MODELS = ("is_flux", "is_v3", "is_pixart", "is_pixart_sigma", "is_auraflow", "is_lumina2",
                 "is_ssd", "is_vega")  # fmt: skip
_PRECISIONS = {
    "fp32": "no", "float32": "no", "float": "no", "fp16": "fp16", "float16": "fp16",
    "bf16": "bf16", "bfloat16": "bf16",
}  # fmt: skip
_FILE_PRECISIONS = {**_PRECISIONS, "fp32": "float", "float32": "float", "float": "float"}
_DEFAULTS = {
    "pretrained_model_name_or_path": "",
    "gradient_checkpointing": True,
    "save_precision": "fp16",
    "caption_extension": ".txt",
    "enable_bucket": True,
}
"""What ai-toolkit uses where a job says nothing, if it stands alone and may differ from ours."""

_OPTIMIZERS = {
    "adamw": "AdamW",
    "adamw8bit": "AdamW8bit",
    "adafactor": "AdaFactor",
    "lion": "Lion",
    "lion8bit": "Lion8bit",
    "prodigy": "Prodigy",
    "dadaptation": "DAdaptAdam",
    "dadaptationadam": "DAdaptLion",  # so it does in its code
    "dadaptationlion": "DAdaptLion",
}
"""ai-toolkit's optimizer -> sd-scripts' name; others keep their names and are refused by those."""


def _recognises(document: Mapping[str, Any]) -> bool:
    config = document.get("config")
    return "job" in document and isinstance(config, Mapping) and "process" in config


def _read(document: Mapping[str, Any], where: str) -> Foreign:
    settings = Settings(PROGRAM, where, _process(document, where))
    name = document["config"].get("name")
    folder = settings.take_as(text, "training_folder", "output")
    name = str(settings.take("name", name) or "lora")
    settings.values |= {**_DEFAULTS, "output_dir": f"{folder}/{name}", "output_name": name}
    _check_model(settings)
    _read_network(settings)
    _read_parts(settings)
    _read_length(settings)
    _read_optimizer(settings)
    _read_schedule(settings)
    _read_timesteps(settings)
    read_samples(settings)
    read_datasets(settings)
    settings.follow(_RULES)
    return settings.foreign()


FORMAT = Format(PROGRAM, _recognises, _read)


def _process(document: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Return the settings of the process that trains, or raise ConfigError if there is none."""
    rows = document["config"]["process"]
    rows = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
    for row in rows:
        if row.get("type") in _TRAINERS:
            return {name: value for name, value in row.items() if name != "type"}
    kinds = ", ".join(str(row.get("type")) for row in rows) or "none"
    raise Settings(PROGRAM, where, {}).not_trained(
        f"does not train an adapter on pictures: its job is {document['job']}, its process {kinds}",
        "give a job whose process is sd_trainer or diffusion_trainer",
    )


def _check_model(settings: Settings) -> None:
    """Raise ConfigError if no adapter is trained, or one for a model of another family."""
    families = [name for name in _OTHER_MODELS if settings.take(f"model.{name}") is True]
    arch = settings.left.get("model.arch") or "sdxl"
    if arch not in _TRAINED:
        families.append(f"arch is {arch}")
    if families:
        raise settings.not_trained(
            f"trains another kind of base model: {', '.join(families)}",
            "lycoris_ext trains Stable Diffusion 1.x, 2.x and XL",
        )
    if not any(name.startswith("network.") for name in settings.left):
        raise settings.not_trained(
            "trains the whole model: it has no network",
            'add a network; algo = "full" trains all weights of the layers and saves the '
            "difference as an adapter",
        )
    for name in ("adapter", "embedding", "decorator", "slider"):
        if any(setting.startswith(f"{name}.") for setting in settings.left):
            raise settings.not_trained(
                f"trains something else beside or instead of the network: it has a table {name}",
                f"remove {name} if you want the network alone",
            )


def _read_network(settings: Settings) -> None:
    values = settings.values
    kind = settings.take_word("network.type", "lora").lower()
    rank = settings.take_as(whole, "network.linear", 4)
    rank = settings.take_as(whole, "network.rank", rank)
    alpha = settings.take_as(number, "network.alpha", 1.0)
    alpha = settings.take_as(number, "network.linear_alpha", alpha)
    conv = settings.take_as(whole, "network.conv", 0)
    conv_alpha = settings.take_as(number, "network.conv_alpha", float(conv))
    values |= {"network_dim": rank, "network_alpha": alpha or rank, "conv_dim": conv}
    if conv:
        values["conv_alpha"] = conv_alpha or conv
    algorithms = {"lora": "lora", "locon": "locon", "lycoris": "locon", "lokr": "lokr"}
    algorithms |= {"dora": "lora", "fullrank": "full"}
    if kind not in algorithms:
        settings.refuse("network.type", kind, 'use type "lora" or "lokr"')
    values["algo"] = algorithms.get(kind, "lora")
    if kind == "dora":
        values |= {"dora_wd": True, "wd_on_output": True}
    full = settings.take_as(flag, "network.lokr_full_rank", True)
    factor = settings.take_as(whole, "network.lokr_factor", -1)
    if kind == "lokr":
        values["factor"] = factor
    if kind == "lokr" and full:  # both factors are whole matrices, and convolutions have them, too
        values["full_matrix"] = True
        for name in ("network_dim", "network_alpha", "conv_dim", "conv_alpha"):
            values.pop(name, None)
    prefix = "network.network_kwargs."
    kept = [_word(word) for word in settings.take_list(f"{prefix}only_if_contains")]
    left_out = [_word(word) for word in settings.take_list(f"{prefix}ignore_if_contains")]
    is_xl = settings.left.get("model.is_xl") is True or settings.left.get("model.arch") == "sdxl"
    if is_xl and not kept and kind not in ("locon", "lycoris"):
        values["include"] = [r"^unet\.add_embedding\."]
    exclude = ([leave_out_others(kept)] if kept else []) + left_out
    if exclude:
        values["exclude"] = exclude


def _word(word: object) -> str:
    """Return a pattern for a part of a layer's name, which may have _ in place of dots."""
    plain = str(word).removeprefix("lora_unet").strip("._$").replace("$$", ".")
    return "[._]".join(re.escape(part) for part in re.split("[._]", plain))


def _read_parts(settings: Settings) -> None:
    """Read which models are trained, and at which rates."""
    values = settings.values
    trains_text = settings.take_as(flag, "train.train_text_encoder", False)
    values["network_train_unet_only"] = not trains_text
    for number_of, target in ((1, "text_encoder"), (2, "text_encoder_2")):
        used = settings.take_as(flag, f"model.use_text_encoder_{number_of}", True)
        if trains_text and not used:
            values["exclude"] = [*values.get("exclude", ()), rf"^{target}\."]
    values["network_train_text_encoder_only"] = not settings.take_as(flag, "train.train_unet", True)
    values["learning_rate"] = settings.take_as(number, "train.lr", 1e-6)
    for option in ("unet_lr", "text_encoder_lr"):
        rate = settings.take_as(number, f"train.{option}", -1.0)
        if rate >= 0:
            values[option] = rate


def _read_length(settings: Settings) -> None:
    """Read steps; with its older gradient_accumulation_steps the program counts batches."""
    values = settings.values
    batches = settings.take_as(whole_from_1, "train.gradient_accumulation_steps", 1)
    accumulated = settings.take_as(whole, "train.gradient_accumulation", 1)
    values["gradient_accumulation_steps"] = max(batches, accumulated)
    values["max_train_steps"] = settings.take_as(whole, "train.steps", 1000) // batches
    copies = settings.take_as(whole, "save.save_every", 1000) // batches
    pictures = settings.take_as(whole, "sample.sample_every", 100) // batches
    kept = settings.take_as(whole, "save.max_step_saves_to_keep", 0)
    if 0 < copies < values["max_train_steps"]:
        values["save_every_n_steps"] = copies
        values |= {"save_last_n_steps": max(1, (kept - 1) * copies)} if kept > 0 else {}
    if pictures > 0 and settings.take("train.disable_sampling") is not True:
        values["sample_every_n_steps"] = pictures
    decay = settings.take_as(number, "train.ema_config.ema_decay", 0.999)
    if settings.take("train.ema_config.use_ema") is True:
        values["ema_decay"] = decay


def _read_optimizer(settings: Settings) -> None:
    chosen = settings.take_word("train.optimizer", "adamw").lower()
    name = _OPTIMIZERS.get(chosen, chosen)
    arguments: dict[str, object] = {"eps": 1e-6} if name in ("AdamW", "AdamW8bit") else {}
    prefix = "train.optimizer_params."
    for setting in [name for name in settings.left if name.startswith(prefix)]:
        arguments[setting.removeprefix(prefix)] = settings.take(setting)
    if name.startswith(("Prodigy", "DAdapt")) and settings.values["learning_rate"] < 0.1:
        settings.values["learning_rate"] = 1.0  # as the program does
    settings.values["optimizer_type"] = name
    settings.values["optimizer_args"] = as_arguments(arguments)


def _read_schedule(settings: Settings) -> None:
    """Read the schedule; most of the program's are torch's, which differ from the usual ones."""
    values = settings.values
    kind = settings.take_word("train.lr_scheduler", "constant")
    prefix = "train.lr_scheduler_params."
    lowest = settings.take_as(number, f"{prefix}eta_min", 0.0)
    warmup = settings.take_as(whole, f"{prefix}num_warmup_steps", 1000)
    factor = settings.take_as(number, f"{prefix}factor", 1.0)
    values["lr_scheduler"] = kind if kind in ("cosine", "constant_with_warmup") else "constant"
    rate = values["learning_rate"]
    if kind == "cosine" and lowest > 0 and rate > 0:
        values |= {
            "lr_scheduler": "cosine_with_min_lr",
            "lr_scheduler_min_lr_ratio": min(1.0, lowest / rate),
        }
    elif kind == "constant_with_warmup":
        values["lr_warmup_steps"] = warmup
    elif kind == "constant" and factor != 1:
        settings.refuse(f"{prefix}factor", factor, "set it to 1 and multiply lr by it")
    elif kind == "linear":
        settings.refuse(
            "train.lr_scheduler",
            kind,
            'it rises from a third of lr to lr over the run; use lr_scheduler = "constant", or '
            '"linear", which falls to 0',
        )
    elif kind not in ("constant", "cosine"):
        settings.refuse(
            "train.lr_scheduler", kind, 'use lr_scheduler = "cosine" or "cosine_with_restarts"'
        )


def _read_timesteps(settings: Settings) -> None:
    """Read the range of timesteps; the program counts from full noise down."""
    first = settings.take_as(whole, "train.min_denoising_steps", 0)
    last = settings.take_as(whole, "train.max_denoising_steps", 999)
    if first > 0:
        settings.values["max_timestep"] = 999 - first
    if last < 999:
        settings.values["min_timestep"] = 1001 - last
    chosen = settings.take_word("train.content_or_style", "balanced")
    if chosen in _CUBIC:  # the cube of a random number, from full noise down
        values = settings.values
        values["timestep_distribution"] = "beta"
        values["noising_weight"], values["noising_bias"] = _CUBIC[chosen]
    elif chosen != "balanced":
        settings.refuse("train.content_or_style", chosen, "choose content, style or balanced")


_CUBIC = {"content": (1.0, 1 / 3), "style": (1 / 3, 1.0)}
"""content_or_style -> noising_weight and noising_bias of a beta distribution."""

_PLAIN = "remove it; the plain loss is used here"
_RULES: dict[str, Rule] = {
    "model.name_or_path": becomes("pretrained_model_name_or_path", text),
    "model.vae_path": becomes("vae", text),
    "model.is_v2": becomes("v2", flag),
    "model.is_v_pred": becomes("v_parameterization", flag),
    "model.lora_path": becomes("base_weights", text),
    "model.quantize*": only(fix=fixes.NOT_QUANTISED),
    "model.unet_path": only(fix=fixes.ONE_BASE),
    "model.te_name_or_path": only(fix=fixes.ONE_BASE),
    "model.refiner_name_or_path": only(fix="train the base model alone"),
    "model.assistant_lora_path": only(
        fix="name it as base_weights, which are merged into the base model"
    ),
    "network.dropout": becomes("network_dropout", number),
    "network.pretrained_lora_path": becomes("network_weights", text),
    "network.all_layers": only(fix="use train_norm = true, which trains normalisation layers"),
    "network.network_kwargs.*": only(fix="choose layers with include and exclude"),
    "save.dtype": becomes("save_precision", _FILE_PRECISIONS),
    "train.batch_size": becomes("train_batch_size", whole),
    "train.dtype": becomes("mixed_precision", _PRECISIONS),
    "train.gradient_checkpointing": becomes("gradient_checkpointing", flag),
    "train.max_grad_norm": becomes("max_grad_norm", number),
    "train.min_snr_gamma": becomes("min_snr_gamma", number),
    "train.noise_offset": becomes("noise_offset", number),
    "train.reg_weight": becomes("prior_loss_weight", number),
    "train.loss_type": becomes("loss_type", {"mse": "l2", "mae": "l1"}),
    "train.noise_scheduler": only(
        "ddpm", fix='set it to "ddpm", with which Stable Diffusion 1.x, 2.x and XL were trained'
    ),
    "train.content_or_style_reg": only("balanced", fix=fixes.TIMESTEPS),
    "train.snr_gamma": only(fix="use min_snr_gamma, with which no weight is above 1"),
    "train.prompt_dropout_prob": only(
        0, fix="use caption_dropout_rate, which drops the whole caption"
    ),
    "train.loss_target": only("noise", fix=_PLAIN),
    "train.ema_config.use_feedback": only(fix=fixes.NO_TRICK),
    "train.ema_config.param_multiplier": only(1, fix=fixes.NO_TRICK),
    "train.num_train_timesteps": only(1000, fix="set it to 1000"),
    "train.start_step": only(fix="remove it; a run continues by itself"),
    "train.lr_scheduler_params.*": NOTHING,
    "train.linear_timesteps*": NOTHING,  # of flow matching alone
    "train.timestep_type": only(
        *("sigmoid", "linear", "lognorm_blend", "weighted", "shift", "flux_shift", "lumina2_shift"),
        fix="remove it; all timesteps from min_timestep to max_timestep are trained here",
    ),
    "trigger_word": only(
        fix="write the word into the captions, or set caption_prefix, which puts it before each"
    ),
    "training_seed": becomes("seed", whole),
    **all_of(
        """
        train.adapter_assist_name_or_path train.adaptive_scaling_factor
        train.blank_prompt_preservation train.blended_blur_noise train.correct_pred_norm
        train.diff_output_preservation train.diffusion_feature_extractor_path train.do_*
        train.do_paramiter_swapping train.dynamic_noise_offset train.force_consistent_noise
        train.free_u train.inverted_mask_prior train.latent_feature_extractor_path
        train.learnable_snr_gos train.match_noise_norm train.max_loss train.merge_network_on_save
        train.negative_prompt train.prompt_saturation_chance train.random_noise_*
        train.short_and_long_captions* train.single_item_batching train.standardize_*
        train.t0_loss_target train.target_norm_std train.train_turbo train.weight_jitter
        """,
        only(0, fix=fixes.NO_TRICK),
    ),
    **all_of(
        """
        train.cfg_scale train.img_multiplier train.latent_multiplier train.noise_multiplier
        train.noisy_latent_multiplier train.optimal_noise_pairing_samples train.pred_scaler
        train.target_noise_multiplier
        """,
        only(1, fix=fixes.NO_TRICK),
    ),
    **all_of(
        """
        datasets_reg device first_sample* guidance.* log_dir loggers logging.* meta.* model.* name
        network.conv_alpha network.layer_offloading network.lokr_* network.lorm*
        network.old_lokr_format network.split_multistage_loras network.transformer_only
        performance_log_every sample.* save.* sqlite_db_path torch_profiler train.adapter_*
        train.attention_backend train.audio_loss_multiplier train.batch_noise_correction_scale
        train.blank_prompt_preservation_multiplier train.bypass_guidance_embedding
        train.cache_text_embeddings train.cfg_rescale train.correct_pred_norm_multiplier
        train.diff_output_preservation_* train.differential_guidance_scale
        train.diffusion_feature_extractor_weight train.disable_sampling train.embedding_lr
        train.force_first_sample train.guidance_loss_* train.inverted_mask_prior_multiplier
        train.latent_feature_loss_weight train.match_adapter_* train.max_cfg_scale
        train.max_loss_debug train.max_negative_prompts train.merge_network_on_save_strength
        train.next_sample_timesteps train.paramiter_swapping_factor train.refiner_lr train.sdp
        train.show_turbo_outputs train.signal_* train.skip_first_sample
        train.switch_boundary_every train.t0_velocity_equiv_weight train.target_norm_std_value
        train.train_refiner train.unconditional_prompt train.unload_text_encoder
        train.validation_config.* train.xformers
        """,
        NOTHING,
    ),
}
"""Setting -> what becomes of it, for those that stand alone."""
