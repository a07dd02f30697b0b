"""What becomes of sd-scripts' options that are no options here: one row for each of them.

An option of sd-scripts is one of four things. An option of the same name is one here, too
(``all_options()`` knows it; it needs no row). Its value changes nothing here: it is taken without a
word. It decides the result and is not supported: it is refused, with the nearest thing that works.
Or it belongs to models of other families than Stable Diffusion 1.x, 2.x and XL, and has no effect
on these.

Source: sd-scripts 48d368f (the arguments of train_network.py and sdxl_train_network.py, and the
schema of library/config_util.py), and the keys that kohya_ss and lora-scripts write beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from lycoris_ext.words import names

EMPTY: tuple[object, ...] = (None, "", False, 0, "none", "None")
"""Values that mean "not set" or "off" for every option of sd-scripts that is not supported."""


@dataclass(frozen=True)
class Row:
    """How one option of sd-scripts is treated.

    Attributes:
        fix: the nearest thing that works, for values that are refused; "": every value is taken,
            because none of them changes the result.
        same: values that say what happens here anyway, besides ``EMPTY`` and empty lists.
    """

    fix: str = ""
    same: tuple[object, ...] = ()

    def changes_nothing(self, value: object) -> bool:
        """Return True if training here is the same with and without this value."""
        return not self.fix or is_off(value) or _plain(value) in self.same


def is_off(value: object) -> bool:
    """Return True for a value that means "not set" or "off", in any spelling."""
    return value in ([], ()) or _plain(value) in EMPTY


def _plain(value: object) -> object:
    """Return a value as it can be compared: texts such as "75" and "False" as what they say."""
    if not isinstance(value, str):
        return value if isinstance(value, (bool, int, float)) or value is None else str(value)
    text = value.strip()
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return float(text)
    except ValueError:
        return text


def _taken(text: str) -> dict[str, Row]:
    return {name: Row() for name in names(text)}


_TEXT_RATES = "use text_encoder_lr = [5e-5, 1e-5], with a rate for each text encoder"
_START = "a stopped run continues by itself if it is started again with the same output_name"
_UPLOAD = "upload the finished file yourself"

AROUND = frozenset(
    names(
        """
        _comment author description epoch extra_accelerate_launch_args gpu_ids headless
        main_process_port metadata_is_negative_embedding metadata_preprocessor model_list name
        negative_prompts noise_offset_type num_cpu_threads_per_process num_machines
        positive_prompts print_only prompt_file randomly_choice_prompt sample_cfg sample_height
        sample_seed sample_steps sample_width version
        """
    )
)
"""Names of the programs around sd-scripts: they describe the file or the machine, and any file may
have some of them, as package.json has a name and a version."""

SD_SCRIPTS: dict[str, Row] = {
    # Memory and speed.
    **_taken(
        """
        attn_mode blockwise_fused_optimizers cache_info cache_latents cpu_offload_checkpointing
        ddp_gradient_as_bucket_view ddp_static_graph ddp_timeout diffusers_xformers
        disable_mmap_load_safetensors dynamo_backend dynamo_mode dynamo_use_dynamic
        dynamo_use_fullgraph fused_backward_pass fused_optimizer_groups highvram lowram lowvram
        max_data_loader_timeout mem_eff_attn mem_eff_save no_half_vae
        persistent_data_loader_workers sdpa skip_cache_check split_attn text_encoder_batch_size
        torch_compile use_flash_attn use_sage_attn vae_batch_size vae_chunk_size xformers
        """
    ),
    # Formats of the trained weights: here they are float32 while they are trained, which is finer.
    **_taken("full_bf16 full_fp16"),
    # Which files are written, how they are called, and where the curves go.
    **_taken(
        """
        console_log_file console_log_level console_log_simple debug_dataset log_config log_prefix
        log_tracker_config log_tracker_name no_metadata output_config save_as_bool
        save_last_n_epochs_state save_last_n_steps_state
        save_n_epoch_ratio save_state save_state_on_train_end show_timesteps
        show_timesteps_resolution tokenizer_cache_dir use_safetensors use_wandb wandb_api_key
        wandb_run_name
        """
    ),
    # Uploading acts together with huggingface_repo_id alone.
    **_taken(
        """
        async_upload huggingface_path_in_repo huggingface_repo_type huggingface_repo_visibility
        huggingface_token save_state_to_huggingface
        """
    ),
    # Of sd-scripts' other programs (whole models, textual inversion): its LoRA training ignores
    # them, and here the model's family is found out from its file.
    **_taken(
        """
        block_lr learning_rate_te learning_rate_te1 learning_rate_te2 sdxl sdxl_checkbox
        stop_text_encoder_training_pct train_text_encoder
        train_unet save_clip save_t5xxl
        """
    ),
    **dict.fromkeys(AROUND, Row()),
    # What decides the result.
    "resize_interpolation": Row(
        "leave it out: pictures are scaled with Lanczos", ("lanczos", "lanczos4")
    ),
    "save_model_as": Row("leave it out: files are safetensors", ("safetensors",)),
    "fp8_base": Row(
        'leave it out: the base has the format of mixed_precision; "bf16" and '
        "gradient_checkpointing = true save memory"
    ),
    "fp8_base_unet": Row(
        'leave it out: the base has the format of mixed_precision, such as "bf16"'
    ),
    "no_token_padding": Row("leave it out"),
    "custom_attributes": Row("leave it out"),
    "train_inpainting": Row("leave it out: whole pictures are trained"),
    "dataset_class": Row("write the pictures and captions into a folder"),
    "dataset_repeats": Row("use num_repeats", (1,)),
    "network_multiplier": Row("scale network_alpha instead", (1,)),
    "lr_restart_cycles": Row("use lr_scheduler_num_cycles", (1,)),
    "text_encoder_lr1": Row(_TEXT_RATES),
    "text_encoder_lr2": Row(_TEXT_RATES),
    "optimizer_schedulefree_wrapper": Row("leave it out"),
    "resume": Row(_START),
    "resume_from_huggingface": Row(_START),
    "skip_until_initial_step": Row(_START),
    "initial_epoch": Row(_START, (1,)),
    "initial_step": Row(_START),
    "huggingface_repo_id": Row(_UPLOAD),
    "deepspeed": Row("leave it out: training uses one device"),
    "multi_gpu": Row("leave it out, and raise train_batch_size: training uses one device"),
    "num_processes": Row(
        "leave it out, and raise train_batch_size or gradient_accumulation_steps: training uses "
        "one device",
        (1,),
    ),
}
"""Option of sd-scripts that is none here -> how it is treated."""

OF_OTHER_FAMILIES = names(
    """
    ae apply_lg_attn_mask apply_t5_attn_mask blocks_to_swap byt5 clip_g clip_g_dropout_rate clip_l
    clip_l_dropout_rate discrete_flow_shift double_blocks_to_swap enable_all_linear
    enable_scaled_pos_embed flow_matching gemma2 gemma2_max_token_length guidance_scale img_*_dim
    in_dims ggpo_* llm_adapter_* self_attn_lr cross_attn_lr mlp_lr mod_lr logit_mean logit_std
    mode_scale model_prediction_type model_type pos_emb_random_crop_rate qwen3
    qwen3_max_token_length sigmoid_scale
    single_blocks_to_swap single_dim single_mod_dim split_mode split_qkv system_prompt
    t5_dropout_rate t5_max_token_length t5_tokenizer_path t5xxl t5xxl_* text_encoder
    timestep_sampling train_blocks train_double_block_indices train_lora_ggpo
    train_single_block_indices train_t5xxl training_shift txt_*_dim weighting_scheme
    flux1_* flux_* sd3_* hunyuan_* anima_* lumina_* zero_stage zero3_* offload_* fp8_scaled fp8_vl
    fp16_master_weights_and_gradients text_encoder_cpu unsloth_offload_checkpointing compile
    compile_* vae_disable_cache controlnet_model_name_or_path sample_batch_size qwen_image_vae_2d
    clip dit dit_* fp8_llm fp8_t5 fp8_text_encoder image_encoder model_version num_timestep_buckets
    preserve_distribution_shape t5 task text_encoder1 text_encoder2
    """
)
"""Names, and patterns of names, of options that act on models of other families alone."""

MARKS_OF_OTHER_FAMILIES = ("ae", "t5xxl", "clip_g", "gemma2", "qwen3", "byt5", "dit")
"""Options that name a part of a model of another family, such as musubi-tuner's ``dit``: a config
that sets one trains such a model."""

FAMILY_OF_MODULE = {
    "flux": "FLUX",
    "sd3": "Stable Diffusion 3",
    "lumina": "Lumina",
    "anima": "Anima",
    "hunyuan": "HunyuanImage",
    "chroma": "Chroma",
    "wan": "Wan",
    "hv": "HunyuanVideo",
    "framepack": "FramePack",
    "qwen": "Qwen-Image",
    "zimage": "Z-Image",
}
"""Word in network_module, training_script or lora-scripts' model_train_type -> the family."""

FIX_OF_FAMILY = (
    "name a base of Stable Diffusion 1.x, 2.x or XL, or train this model in sd-scripts, with "
    "network_module = lycoris_ext.kohya"
)

RENAMED = {"caption_extention": "caption_extension", "network_dropout": "dropout"}
"""sd-scripts' option -> ours, where the names differ."""

DEFAULTS: dict[str, object] = {
    "pretrained_model_name_or_path": "",
    "optimizer_type": "AdamW",
    "learning_rate": 2e-6,
    "network_dim": 4,
    "enable_bucket": False,
    "caption_extension": ".caption",
    "save_precision": "float",
    "sample_sampler": "ddim",
}
"""Value of sd-scripts' options that a file does not set, where it differs from ours."""


def row_of(name: str) -> Row | None:
    """Return how an option of sd-scripts is treated; None if the name is none of its options."""
    if name in SD_SCRIPTS:
        return SD_SCRIPTS[name]
    if is_of_other_families(name):
        return Row()
    return None


def is_of_other_families(name: str) -> bool:
    """Return True if an option acts on models alone that cannot be trained here."""
    return any(fnmatchcase(name, pattern) for pattern in OF_OTHER_FAMILIES)
