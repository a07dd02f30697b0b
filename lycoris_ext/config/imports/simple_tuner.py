"""SimpleTuner: config.json (or TOML), with the files of its data sets and of LyCORIS.

Keys may begin with "--". The settings of its former ``config.env`` are read as well, if they are
given as a mapping from variables to texts.

Source: https://github.com/bghira/SimpleTuner at bc8e6ab, documentation/OPTIONS.md, the sections of
its field_registry (defaults), custom_schedule.py, optimizer_param.py, env_file.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PureWindowsPath
from typing import Any

from lycoris_ext.config.imports import fixes
from lycoris_ext.config.imports.foreign import Foreign, Format
from lycoris_ext.config.imports.prompt_lines import prompt_line
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
    share,
    text,
    whole,
    whole_from_1,
)
from lycoris_ext.config.imports.simple_tuner_data import read_datasets
from lycoris_ext.config.imports.simple_tuner_names import with_present_names
from lycoris_ext.config.imports.simple_tuner_network import read_network

PROGRAM = "SimpleTuner"

_MODELS = {
    "sd1x": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "sd2x": "stabilityai/stable-diffusion-2-1",
    "sdxl": "stabilityai/stable-diffusion-xl-base-1.0",
    "stable_diffusion_legacy": "stable-diffusion-v1-5/stable-diffusion-v1-5",
}
"""Family -> the base model that is used if none is named."""

_ADAMW = {"betas": (0.9, 0.999), "weight_decay": 0.01, "eps": 1e-6}
_OPTIMIZERS: dict[str, tuple[str, Mapping[str, object]]] = {
    "adamw_bf16": ("AdamW", _ADAMW),
    "torch-adamw": ("AdamW", {**_ADAMW, "eps": 1e-8}),
    "bnb-adamw": ("AdamW", _ADAMW),
    "bnb-adamw-paged": ("AdamW", _ADAMW),
    "optimi-adamw": ("AdamW", {**_ADAMW, "betas": (0.9, 0.99)}),
    "bnb-adamw8bit": ("AdamW8bit", _ADAMW),
    "bnb-adamw8bit-paged": ("AdamW8bit", _ADAMW),
    "ao-adamw8bit": ("AdamW8bit", _ADAMW),
    "adamw_schedulefree": ("AdamWScheduleFree", {"betas": (0.9, 0.999), "weight_decay": 1e-2}),
    "optimi-lion": ("Lion", {"betas": (0.9, 0.99), "weight_decay": 0.0}),
    "bnb-lion": ("Lion", {"betas": (0.9, 0.99), "weight_decay": 0.0}),
    "bnb-lion8bit": ("Lion8bit", {"betas": (0.9, 0.99), "weight_decay": 0.0}),
    "torch-adafactor": ("AdaFactor", {}),
}
"""SimpleTuner's optimizer -> sd-scripts' name, and its arguments with SimpleTuner's defaults.

Weights are trained in float32 here, also those that SimpleTuner keeps in bfloat16.
"""


def _recognises(document: Mapping[str, Any]) -> bool:
    names = {str(name).removeprefix("--") for name in document}
    by_env = {"MODEL_FAMILY", "MODEL_TYPE", "MAX_NUM_STEPS", "DATALOADER_CONFIG"} & names
    return {"model_family", "model_type"} <= names or len(by_env) > 1


def _read(document: Mapping[str, Any], where: str) -> Foreign:
    settings = Settings(PROGRAM, where, with_present_names(document))
    settings.values |= _DEFAULTS
    family = _check_trained(settings)
    settings.values["pretrained_model_name_or_path"] = _MODELS[family]
    read_network(settings)
    _read_length(settings)
    _read_rates(settings)
    _read_optimizer(settings)
    _read_schedule(settings)
    _read_noise(settings)
    _read_output(settings)
    _read_samples(settings)
    read_datasets(settings)
    settings.follow(_RULES)
    return settings.foreign()


FORMAT = Format(PROGRAM, _recognises, _read)

_DEFAULTS = {
    "train_batch_size": 4,
    "gradient_checkpointing": True,
    "mixed_precision": "bf16",
    "caption_extension": ".txt",
    "caption_dropout_rate": 0.1,
    "enable_bucket": True,
    "save_precision": "float",
}
"""What SimpleTuner uses where a file says nothing, if it stands alone and may differ from ours."""


def _check_trained(settings: Settings) -> str:
    """Return the family; raise ConfigError if no adapter is trained, or for another family."""
    family = settings.take_word("model_family", "sdxl")
    if family not in _MODELS:
        raise settings.not_trained(
            f"trains another kind of base model: model_family is {family}",
            "lycoris_ext trains Stable Diffusion 1.x, 2.x and XL: sd1x, sd2x and sdxl",
        )
    kind = settings.take_word("model_type", "full")
    if kind != "lora":
        raise settings.not_trained(
            f"does not train an adapter: model_type is {kind}",
            'set model_type to lora; algo = "full" trains all weights of the layers and saves the '
            "difference as an adapter",
        )
    for name in ("controlnet", "control"):
        if str(settings.take(name, False)).lower() == "true":
            raise settings.not_trained(
                f"trains a ControlNet: {name} is set", f"remove {name} to train an adapter"
            )
    return family


def _read_length(settings: Settings) -> None:
    steps = settings.take_as(whole, "max_train_steps", 0)
    epochs = settings.take_as(whole, "num_train_epochs", 1)
    if steps > 0:
        settings.values["max_train_steps"] = steps
    else:
        settings.values["max_train_epochs"] = max(1, epochs)


def _read_rates(settings: Settings) -> None:
    """Read the learning rate, which the program may multiply by the size of the batch."""
    batch = settings.take_as(whole_from_1, "train_batch_size", 4)
    steps = settings.take_as(whole_from_1, "gradient_accumulation_steps", 1)
    rate = settings.take_as(number, "learning_rate", 4e-7)
    by_root = settings.take_as(flag, "lr_scale_sqrt", False)
    if settings.take_as(flag, "lr_scale", False):
        rate *= (batch * steps) ** (0.5 if by_root else 1.0)
    settings.values |= {
        "train_batch_size": batch,
        "gradient_accumulation_steps": steps,
        "learning_rate": rate,
    }


def _read_optimizer(settings: Settings) -> None:
    chosen = settings.take_word("optimizer", "adamw_bf16")
    name, usual = _OPTIMIZERS.get(chosen, (chosen, {}))
    arguments = dict(usual)
    for pair in settings.take_word("optimizer_config", "").split(","):
        argument, equals, value = pair.partition("=")
        if equals:
            arguments[argument.strip()] = value.strip()
    for place in ("adam", "optimizer"):
        low = settings.take(f"{place}_beta1")
        high = settings.take(f"{place}_beta2")
        if low is not None and high is not None and "betas" in arguments:
            arguments["betas"] = (low, high)
    for setting, argument in (("adam_weight_decay", "weight_decay"), ("adam_epsilon", "eps")):
        value = settings.take(setting)
        if value is not None and argument in arguments:
            arguments[argument] = value
    settings.values["optimizer_type"] = name
    settings.values["optimizer_args"] = as_arguments(arguments)
    # By default each number of the gradient is clipped, not its norm; 2 is far above them.
    method = settings.take_word("grad_clip_method", "value")
    limit = settings.take_as(number, "max_grad_norm", 2.0)
    settings.values["max_grad_norm"] = limit if method == "norm" else 0.0
    if method != "norm" and limit < 1:
        settings.refuse("grad_clip_method", method, "use max_grad_norm = 1, which clips the norm")


def _read_schedule(settings: Settings) -> None:
    values = settings.values
    kind = settings.take_word("lr_scheduler", "constant_with_warmup")
    warmup = settings.take_as(whole, "lr_warmup_steps", 0)
    cycles = settings.take_as(whole, "lr_num_cycles", 1)
    power = settings.take_as(number, "lr_power", 0.8)
    usual = ("constant", "constant_with_warmup", "linear", "polynomial")
    values["lr_scheduler"] = kind if kind in usual else "cosine"
    if kind not in usual:
        nearest = "cosine_with_restarts" if kind in ("cosine_with_restarts", "sine") else "cosine"
        values["lr_scheduler"] = nearest
        settings.refuse(
            "lr_scheduler",
            kind,
            f'use lr_scheduler = "{nearest}"; it falls to 0 over the run instead of rising and '
            "falling every lr_warmup_steps",
        )
        warmup = 0
        if nearest == "cosine_with_restarts":
            values["lr_scheduler_num_cycles"] = max(1, cycles)
    elif kind == "polynomial":
        values["lr_scheduler_power"] = power
        lowest = settings.take_as(number, "lr_end", 4e-7)
        if lowest > 0.01 * values["learning_rate"]:
            settings.refuse(
                "lr_end",
                lowest,
                'use lr_scheduler = "cosine_with_min_lr"; polynomial falls to 1e-7 here',
            )
    if warmup > 0 and kind != "constant":
        values["lr_warmup_steps"] = warmup


def _read_noise(settings: Settings) -> None:
    """Read the noise, the loss, what the model predicts, and the average of the weights."""
    values = settings.values
    offset = settings.take_as(number, "noise_offset", 0.1)
    chance = settings.take_as(number, "noise_offset_probability", 0.25)
    if settings.take_as(flag, "offset_noise", False) and offset:
        values["noise_offset"] = offset
        if chance != 1:
            settings.refuse(
                "noise_offset_probability", chance, "set it to 1; the offset is in every step here"
            )
    noise = settings.take_as(number, "input_perturbation", 0.0)
    steps = settings.take_as(whole, "input_perturbation_steps", 0)
    if noise:
        values["ip_noise_gamma"] = noise
        if steps:
            settings.refuse("input_perturbation_steps", steps, "remove it; it lasts the whole run")
    loss = values["loss_type"] = settings.take_word("loss_type", "l2")
    threshold = settings.take_as(number, "huber_c", 0.1)
    schedule = settings.take_word("huber_schedule", "snr")
    if loss in ("huber", "smooth_l1"):
        values |= {"huber_c": threshold, "huber_schedule": schedule}
    prediction = settings.take("prediction_type")
    if prediction in ("epsilon", "v_prediction"):
        values["v_parameterization"] = prediction == "v_prediction"
    elif prediction is not None:
        settings.refuse(
            "prediction_type",
            prediction,
            "use epsilon or v_prediction, as the base model was trained",
        )
    decay = settings.take_as(share, "ema_decay", 0.995)
    interval = settings.take_as(whole, "ema_update_interval", 1)
    if settings.take_as(flag, "use_ema", False):
        values["ema_decay"] = round(decay ** (1 / max(1, interval)), 6)


def _read_output(settings: Settings) -> None:
    path = PureWindowsPath(settings.take_as(text, "output_dir", "simpletuner-results"))
    settings.values |= {"output_dir": path.as_posix(), "output_name": "pytorch_lora_weights"}
    kept = settings.take_as(whole, "checkpoints_total_limit", 0)
    for unit in ("step", "epoch"):
        every = settings.take_as(whole, f"checkpoint_{unit}_interval", 0)
        if every > 0:
            settings.values[f"save_every_n_{unit}s"] = every
        if every > 0 and kept > 0:
            age = max(1, (kept - 1) * every)
            settings.values[f"save_last_n_{unit}s"] = age if unit == "step" else kept


def _read_samples(settings: Settings) -> None:
    prompt = settings.take("validation_prompt")
    every = settings.take_as(whole, "validation_step_interval", 0)
    width, _, height = settings.take_word("validation_resolution", "").partition("x")
    fields = {
        "n": settings.take("validation_negative_prompt"),
        "w": width,
        "h": height or width,
        "d": settings.take("validation_seed"),
        "s": settings.take("validation_num_inference_steps"),
        "l": settings.take("validation_guidance"),
    }
    if prompt is not None and every > 0:
        settings.values["sample_every_n_steps"] = every
        settings.values["sample_prompts"] = [prompt_line(prompt, fields)]
    for unit, name in (("step", "eval_steps_interval"), ("epoch", "eval_epoch_interval")):
        every = int(settings.take_as(number, name, 0.0))  # a part of an epoch: every epoch
        if every > 0:
            settings.values[f"validate_every_n_{unit}s"] = every


_RULES: dict[str, Rule] = {
    "pretrained_model_name_or_path": becomes("pretrained_model_name_or_path", text),
    "pretrained_vae_model_name_or_path": becomes("vae", text),
    "pretrained_unet_model_name_or_path": only(fix=fixes.ONE_BASE),
    "seed": becomes("seed", whole),
    "mixed_precision": becomes("mixed_precision", {"bf16": "bf16", "fp16": "fp16", "no": "no"}),
    "gradient_checkpointing": becomes("gradient_checkpointing", flag),
    "caption_dropout_probability": becomes("caption_dropout_rate", share),
    "snr_gamma": becomes("min_snr_gamma", number),
    "snr_weight": only(1, fix="use min_snr_gamma"),
    "rescale_betas_zero_snr": becomes("zero_terminal_snr", flag),
    "base_model_precision": only("no_change", fix=fixes.NOT_QUANTISED),
    "text_encoder_*_precision": only("no_change", fix=fixes.NOT_QUANTISED),
    "train_text_encoder": only(
        fix="set network_train_unet_only = false, which trains it as sd-scripts does"
    ),
    "timestep_bias_strategy": only("none", fix=fixes.TIMESTEPS),
    "refiner_training": only(fix="choose timesteps with min_timestep and max_timestep"),
    "use_soft_min_snr": only(fix="use min_snr_gamma"),
    "layer_freeze_strategy": only("none", fix=fixes.NO_TRICK),
    "num_processes": only(0, 1, fix=fixes.ONE_GPU),
    "num_machines": only(0, 1, fix="train on one machine"),
    "masked_loss_probability": only(1, fix=fixes.MASKS),
    "aspect_bucket_alignment": becomes("bucket_reso_steps", whole),
    "minimum_image_size": only(
        0, fix="move smaller pictures to another folder; all pictures of a folder are trained"
    ),
    **all_of(
        """
        *_enabled diffusion_blocks_config distillation_config distillation_method freeze_encoder
        grounding_* lora_initialisation_style scheduled_sampling_max_step_offset tread_config
        use_rewards uses_*
        """,
        only("default", "none", 0, fix=fixes.NO_TRICK),
    ),
    **all_of(
        """
        accelerat* adam_* aesthetic* allow_* aspect_bucket_* assistant_lora_* attention_mechanism
        audio_* aws_* base_model_default_dtype cache_* caption_strategy checkpointing_*
        checkpoints_* compress_* conditioning_* configs_dir context_parallel_* controlnet_* crepa_*
        data_aesthetic_score data_backend_* dataloader_* debug_* deepfloyd_* deepspeed_config
        delete_* delete_model_after_load diff2flow_* disable_* disk_* dynamo_* ema_* enable_* eval_*
        evaluation_type feed_forward_* find_unused_parameters flow_* flux_* freeze_encoder_* fsdp_*
        fully_* fuse_* gradient_* group_offload_* hub_* i_know_what_i_am_doing ignore_*
        image_processing_batch_size inference_scheduler_* init_lora_step instance_prompt
        internal_guidance_* irepa_* keep_vae_loaded layersync_* local_rank logging_dir lora_format
        lr_end ltx* lycoris_config lyrics_* machine_rank main_process_* max_grounding_entities
        max_upscale_threshold max_workers maximum_* merge_environment_config metadata_* mixflow_*
        model_card_* model_flavour modelspec_comment musubi_* nextlat_* non_ema_revision nsfw_*
        num_* offload_* only_instance_prompt optimizer_* override_dataset_config parquet_* pixart_*
        post_* prepend_instance_prompt preserve_* pretrained_*_subfolder pretrained_evaluation_*
        pretrained_gemma* pretrained_t5* pretrained_transformer* print_* prodigy_steps
        publishing_config push_* quantiz* qwen_* ramtorch* read_batch_size refiner_training_*
        report_to resolution resolution_type resume_from_checkpoint revision s3_*
        sageattention_usage same_network save_* scheduled_sampling_* sdnq_* sdxl_*
        seed_for_each_device set_grads_to_none singlora_ramp_up_steps skip_file_discovery
        soft_min_snr_sigma_data strict_epoch_limit t5_* target_downsample_size text_*
        timestep_bias_* tokenizer_max_length torch_* tracker_* training_scheduler_timestep_spacing
        trust_remote_code twinflow_* unet_attention_slice upload_* urepa_* user_prompt_library vae_*
        validate_* validation_* variant wan_* webhook_* write_batch_size xm_*
        """,
        NOTHING,
    ),
}
"""Setting -> what becomes of it, for those that stand alone."""
