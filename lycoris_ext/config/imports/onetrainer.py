"""OneTrainer: its presets and the configs that it saves, as JSON.

Settings that a file does not have get OneTrainer's defaults, because its presets only hold what
differs from them.

Source: https://github.com/Nerogar/OneTrainer at 23df383, modules/util/config/TrainConfig.py with
its migrations, create.py (schedules), LoRAModule.py (which layers), ModelSetupNoiseMixin.py and
ModelSetupDiffusionLossMixin.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PureWindowsPath
from typing import Any

from lycoris_ext.config.imports import fixes
from lycoris_ext.config.imports.foreign import Foreign, Format
from lycoris_ext.config.imports.onetrainer_data import read_concepts, read_samples
from lycoris_ext.config.imports.onetrainer_network import (
    SDXL,
    read_layers,
    read_network,
    read_text_encoders,
)
from lycoris_ext.config.imports.onetrainer_optimizer import (
    read_optimizer,
    read_rates,
    read_schedule,
)
from lycoris_ext.config.imports.settings import (
    NOTHING,
    Rule,
    Settings,
    all_of,
    becomes,
    flag,
    number,
    only,
    share,
    text,
    whole,
)
from lycoris_ext.diffusion.timesteps import DISTRIBUTIONS, UNIFORM, fault_of

PROGRAM = "OneTrainer"
_TRAINED = ("STABLE_DIFFUSION_15", "STABLE_DIFFUSION_20", "STABLE_DIFFUSION_20_BASE",
            "STABLE_DIFFUSION_21", "STABLE_DIFFUSION_21_BASE", SDXL)  # fmt: skip
_METHODS = {
    "FINE_TUNE": "choose LORA in OneTrainer and save the config again; to train all weights of the "
    'layers and save the difference as an adapter, then write algo = "full"',
    "EMBEDDING": "lycoris_ext does not train embeddings; choose LORA in OneTrainer",
}
_PRECISIONS = {"FLOAT_32": "no", "TFLOAT_32": "no", "FLOAT_16": "fp16", "BFLOAT_16": "bf16"}
_FILE_PRECISIONS = {"FLOAT_32": "float", "FLOAT_16": "fp16", "BFLOAT_16": "bf16"}

_DEFAULTS = {
    "pretrained_model_name_or_path": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "mixed_precision": "fp16",
    "save_precision": "float",
    "caption_extension": ".txt",
    "enable_bucket": True,
    "max_grad_norm": 1.0,
}
"""What OneTrainer uses where a file says nothing, if it stands alone and may differ from ours."""

_PARTS = ("unet", "text_encoder", "text_encoder_2", "vae")
_QUANTISED = only("NONE", *_PRECISIONS, fix=fixes.NOT_QUANTISED)


def _recognises(document: Mapping[str, Any]) -> bool:
    own = {"base_model_name", "output_model_destination", "output_model_format", "training_method"}
    return (
        bool(own & document.keys()) and {"model_type", "learning_rate"} & document.keys() != set()
    )


def _read(document: Mapping[str, Any], where: str) -> Foreign:
    settings = Settings(PROGRAM, where, document)
    settings.values |= _DEFAULTS
    _rename_old(settings)
    family = _check_trained(settings)
    read_network(settings)
    read_layers(settings, family)
    read_text_encoders(settings, family)
    read_optimizer(settings)
    read_rates(settings)
    read_schedule(settings)
    _read_loss(settings)
    _read_run(settings)
    read_samples(settings)
    read_concepts(settings)
    settings.follow(_RULES)
    return settings.foreign()


FORMAT = Format(PROGRAM, _recognises, _read)


def _rename_old(settings: Settings) -> None:
    """Give settings of older versions their present names, as OneTrainer's migrations do."""
    names = {
        "optimizer": "optimizer.optimizer",
        "lora_layers": "layer_filter",
        "lora_layer_preset": "layer_filter_preset",
        "lora_layers_regex": "layer_filter_regex",
        "gradient_checkpointing": "unet.gradient_checkpointing",
        "save_after": "save_every",
        "save_after_unit": "save_every_unit",
    }
    for part in _PARTS:
        names |= {
            f"train_{part}": f"{part}.train",
            f"train_{part}_epochs": f"{part}.stop_training_after",
            f"{part}_learning_rate": f"{part}.learning_rate",
            f"{part}_weight_dtype": f"{part}.weight_dtype",
            f"{part}_model_name": f"{part}.model_name",
        }
    left = settings.left
    for name, value in list(left.items()):
        if name.startswith("optimizer_") and not name.startswith("optimizer_defaults"):
            names[name] = f"optimizer.{name.removeprefix('optimizer_')}"
        if name in names:
            del left[name]
            left.setdefault(names[name], value)
    gamma = settings.take("min_snr_gamma")
    if gamma:
        left |= {"loss_weight_fn": "MIN_SNR_GAMMA", "loss_weight_strength": gamma}


def _check_trained(settings: Settings) -> str:
    """Return the model's type; raise ConfigError if no adapter is trained, or for another model."""
    method = settings.take_word("training_method", "FINE_TUNE")
    if method != "LORA":
        raise settings.not_trained(
            f"does not train an adapter: training_method is {method}",
            _METHODS.get(str(method), "choose LORA in OneTrainer and save the config again"),
        )
    family = settings.take_word("model_type", "STABLE_DIFFUSION_15")
    if family not in _TRAINED:
        raise settings.not_trained(
            f"trains an adapter for another kind of base model: model_type is {family}",
            "lycoris_ext trains Stable Diffusion 1.x, 2.x and XL, without inpainting or depth",
        )
    return family


def _read_loss(settings: Settings) -> None:
    """Read the loss, its weights, the noise and the timesteps."""
    values = settings.values
    usual = {"mse": 1.0, "mae": 0.0, "huber": 0.0, "log_cosh": 0.0}
    parts = {name: settings.take_as(number, f"{name}_strength", usual[name]) for name in usual}
    used = {name: strength for name, strength in parts.items() if strength}
    if used == {"mae": 1.0}:
        values["loss_type"] = "l1"
    elif used != {"mse": 1.0}:
        nearest = "huber" if "huber" in used else "l2"
        settings.refuse(
            ", ".join(f"{name}_strength" for name in parts),
            list(parts.values()),
            f'use a single loss: loss_type = "{nearest}"',
        )

    weight = settings.take_word("loss_weight_fn", "CONSTANT")
    strength = settings.take_as(number, "loss_weight_strength", 5.0)
    if weight == "MIN_SNR_GAMMA":
        values["min_snr_gamma"] = strength
    elif weight == "DEBIASED_ESTIMATION":
        values["debiased_estimation_loss"] = True
    elif weight != "CONSTANT":
        settings.refuse(
            "loss_weight_fn", weight, "use min_snr_gamma = 5 or debiased_estimation_loss"
        )

    offset = values["noise_offset"] = settings.take_as(number, "offset_noise_weight", 0.0)
    if settings.take_as(flag, "generalized_offset_noise", False) and offset:
        settings.refuse(
            "generalized_offset_noise",
            True,
            "use noise_offset alone; it is the same at every timestep",
        )
    if settings.take_as(flag, "rescale_noise_scheduler_to_zero_terminal_snr", False):
        values |= {"zero_terminal_snr": True, "v_parameterization": True}
    for name, predicts in (("force_v_prediction", True), ("force_epsilon_prediction", False)):
        if settings.take_as(flag, name, False):
            values["v_parameterization"] = predicts

    first = int(1000 * settings.take_as(share, "min_noising_strength", 0.0))
    last = int(1000 * settings.take_as(share, "max_noising_strength", 1.0))
    values |= {"min_timestep": first} if first > 0 else {}
    values |= {"max_timestep": last} if last < 1000 else {}
    _read_timesteps(settings)


def _read_timesteps(settings: Settings) -> None:
    """Read how often each timestep is trained.

    OneTrainer shifts most distributions over all timesteps, also where it trains a part of them,
    and applies the shift to SIGMOID once more; neither is the same here.
    """
    values = settings.values
    drawn = settings.take_word("timestep_distribution", "UNIFORM")
    moved = settings.take_as(number, "timestep_shift", 1.0)
    own = {name: settings.take_as(number, name, 0.0) for name in ("noising_weight", "noising_bias")}
    known = DISTRIBUTIONS.get(str(drawn).lower())
    if known is None:
        settings.refuse(
            "timestep_distribution", drawn, f"choose one of {', '.join(DISTRIBUTIONS).upper()}"
        )
        return
    name = str(drawn).lower()
    fault = fault_of(name, own["noising_weight"], own["noising_bias"])
    if fault:
        settings.refuse("timestep_distribution", drawn, fault)
        return
    values |= {"timestep_distribution": name} if name != UNIFORM else {}
    values |= {option: own[option] for option in known.reads if own[option]}
    if moved == 1.0:
        return
    is_part = "min_timestep" in values or "max_timestep" in values
    if name == "sigmoid" or (is_part and not known.is_density):
        settings.refuse(
            "timestep_shift",
            moved,
            f"set timestep_shift = {moved:g} here, which moves the timesteps that are trained, "
            "and see whether it serves",
        )
    else:
        values["timestep_shift"] = moved


def _read_run(settings: Settings) -> None:
    """Read what the average, the file and its copies are."""
    values = settings.values
    if settings.take_word("ema", "OFF") != "OFF":
        decay = settings.take_as(share, "ema_decay", 0.999)
        interval = max(1, settings.take_as(whole, "ema_update_step_interval", 5))
        values["ema_decay"] = round(decay ** (1 / interval), 6)  # ours averages in every step
    path = PureWindowsPath(settings.take_as(text, "output_model_destination", "models/lora"))
    values["output_dir"] = path.parent.as_posix()
    values["output_name"] = path.stem or "lora"
    every = settings.take_as(whole, "save_every", 0)
    options = {"EPOCH": "save_every_n_epochs", "STEP": "save_every_n_steps"}
    unit = settings.take_word("save_every_unit", "NEVER")
    if every > 0 and unit in options:
        values[options[unit]] = every
    checkpointing = str(settings.take("unet.gradient_checkpointing", True)).lower()
    values["gradient_checkpointing"] = checkpointing not in ("false", "off")
    if settings.take_as(flag, "masked_training", False):
        settings.refuse(
            "masked_training",
            True,
            fixes.MASKS,
        )
    embeddings = settings.take_rows("additional_embeddings")
    if embeddings:
        settings.refuse(
            "additional_embeddings",
            [row.get("placeholder") for row in embeddings],
            "train without them; captions then hold plain words in place of the embeddings",
        )


_RULES: dict[str, Rule] = {
    "base_model_name": becomes("pretrained_model_name_or_path", text),
    "vae.model_name": becomes("vae", text),
    "lora_model_name": becomes("network_weights", text),
    "dropout_probability": becomes("network_dropout", number),
    "clip_grad_norm": becomes("max_grad_norm", number),
    "train_dtype": becomes("mixed_precision", _PRECISIONS),
    "output_dtype": becomes("save_precision", _FILE_PRECISIONS),
    "resolution": NOTHING,  # read with the concepts
    "aspect_ratio_bucketing": becomes("enable_bucket", flag),
    "dataloader_threads": becomes("max_data_loader_n_workers", whole),
    "loss_scaler": only("NONE", fix="remove it: AdamW's steps do not depend on the loss's scale"),
    "learning_rate_scaler": NOTHING,
    "perturbation_noise_weight": only(
        0, fix="use ip_noise_gamma, which adds noise to what the model sees, not to the target"
    ),
    "dynamic_timestep_shifting": NOTHING,  # of models with flow matching alone
    "custom_conditioning_image": only(fix=fixes.NO_CONDITIONING),
    "force_circular_padding": only(fix="train without it"),
    "only_cache": only(fix="remove it; cache_latents_to_disk keeps the cache in files"),
    "multi_gpu": only(fix=fixes.ONE_GPU),
    "text_encoder_2_layer_skip": only(0, fix="set it to 0, as SDXL was trained"),
    "unet.model_name": only(fix=fixes.ONE_BASE),
    "text_encoder*.model_name": only(fix=fixes.ONE_BASE),
    "unet.weight_dtype": _QUANTISED,
    "text_encoder*.weight_dtype": _QUANTISED,
    "weight_dtype": _QUANTISED,
    "optimizer.amsgrad": only(fix="set it to false; AdamW is used without it here"),
    "optimizer.maximize": only(fix="set it to false; AdamW is used without it here"),
    "optimizer.percentile_clipping": only(
        100, fix="use max_grad_norm, which limits the norm of the gradient"
    ),
    "optimizer.*": NOTHING,
    "optimizer_defaults.*": NOTHING,
    **all_of(
        """
        __version async_* attention_mechanism backup_* bundle_additional_embeddings cache_dir
        clear_cache_before_training cloud.* compile concept_file_name continue_last_backup
        custom_learning_rate_scheduler debug_* decoder* device_indexes effnet_encoder* ema_*
        embedding* enable_* epochs fallback_train_dtype frames fused_gradient_reduce
        gradient_reduce_* huber_delta huggingface_cache_dir include_train_config latent_caching
        layer_offload_fraction learning_rate_cycles learning_rate_min_factor lokr_*
        lora_decompose_norm_epsilon lora_weight_dtype masked_* noising_* non_ema_sampling
        normalize_masked_area_loss offline_mode oft_* output_model_format preserve_embedding_norm
        prevent_overwrites prior.* quantization.* rolling_backup* sample_* samples_to_tensorboard
        save_* scheduler_params secrets.* temp_device tensorboard* text_encoder* train_device
        transformer.* unconditional_transformer.* unet.* unmasked_* vae.* validat*
        vb_loss_strength workspace_dir
        """,
        NOTHING,
    ),
}
"""Setting -> what becomes of it, for those that stand alone."""
