"""What is written into a trained adapter: sd-scripts' ss_* names and our own config.

No times and no paths: a run that was interrupted ends in the same bytes as one that was not, and
nobody's folders travel with the file.
"""

from __future__ import annotations

import json
from pathlib import Path

from lycoris_ext.data import TrainingSet
from lycoris_ext.training.config import TrainConfig, dump_toml

_BASE_VERSIONS = {
    "sd1": "sd_v1",
    "sd1_v": "sd_v1_v",
    "sd2": "sd_v2",
    "sd2_v": "sd_v2_v",
    "sdxl": "sdxl_base_v1-0",
    "sdxl_v": "sdxl_base_v1-0",
}
"""Kinds of base models, and what sd-scripts calls them."""


def training_metadata(
    config: TrainConfig, training_set: TrainingSet, base_hash: str, base_kind: str, step: int
) -> dict[str, str]:
    """Metadata of an adapter after so many steps.

    Args:
        config: the resolved options.
        training_set: gives counts of folders, tags and buckets.
        base_hash: SHA-256 of the base model.
        base_kind: as `Pipeline.kind`.
        step: finished optimizer steps.

    Returns:
        Text for text, as safetensors stores it; what sd-scripts leaves unset is "None".
    """
    base = config.model.pretrained_model_name_or_path.replace("\\", "/")
    values: dict[str, object] = {
        "ss_network_module": "lycoris_ext.kohya",
        **_network(config),
        **_training(config, training_set, step),
        "ss_sd_model_name": Path(base).name,
        "ss_new_sd_model_hash": base_hash,
        "ss_base_model_version": _BASE_VERSIONS[base_kind],
        "ss_v2": base_kind.startswith("sd2"),
        "ss_clip_skip": config.model.clip_skip,
        **_pictures(config, training_set),
        "lycoris_ext_config": dump_toml(config, for_sharing=True),
    }
    return {name: str(value) for name, value in values.items()}


def _network(config: TrainConfig) -> dict[str, object]:
    network = config.effective_network
    arguments = {
        name: str(value)
        for name, value in config.sections()["network"].items()
        if name not in ("network_dim", "network_alpha") and value not in (None, (), False)
    }
    return {
        "ss_network_dim": network.network_dim,
        "ss_network_alpha": network.network_alpha,
        "ss_network_args": json.dumps(arguments),
    }


def _training(config: TrainConfig, training_set: TrainingSet, step: int) -> dict[str, object]:
    optimizer, run = config.optimizer, config.run
    batches = training_set.batches_per_epoch
    batch_size = config.data.train_batch_size
    return {
        "ss_learning_rate": optimizer.learning_rate,
        "ss_unet_lr": optimizer.unet_lr,
        "ss_text_encoder_lr": optimizer.text_encoder_lr,
        "ss_optimizer": _optimizer_text(config),
        "ss_lr_scheduler": config.schedule.lr_scheduler,
        "ss_lr_warmup_steps": config.schedule.lr_warmup_steps,
        "ss_max_grad_norm": optimizer.max_grad_norm,
        "ss_steps": step,
        "ss_max_train_steps": run.total_steps(batches),
        "ss_epoch": step * run.gradient_accumulation_steps // batches,
        "ss_num_batches_per_epoch": batches,
        "ss_batch_size_per_device": batch_size,
        "ss_total_batch_size": batch_size * run.gradient_accumulation_steps,
        "ss_gradient_accumulation_steps": run.gradient_accumulation_steps,
        "ss_gradient_checkpointing": run.gradient_checkpointing,
        "ss_mixed_precision": run.mixed_precision,
        "ss_seed": run.seed,
        "ss_output_name": run.output_name,
        "ss_scale_weight_norms": run.scale_weight_norms,
        **_loss(config),
    }


def _loss(config: TrainConfig) -> dict[str, object]:
    """Where sd-scripts has None for "off", so does this."""
    loss = config.loss
    return {
        "ss_loss_type": loss.loss_type,
        "ss_huber_schedule": loss.huber_schedule,
        "ss_huber_c": loss.huber_c,
        "ss_huber_scale": loss.huber_scale,
        "ss_min_snr_gamma": loss.min_snr_gamma,
        "ss_debiased_estimation": loss.debiased_estimation_loss,
        "ss_zero_terminal_snr": loss.zero_terminal_snr,
        "ss_prior_loss_weight": loss.prior_loss_weight,
        "ss_noise_offset": loss.noise_offset or None,
        "ss_noise_offset_random_strength": loss.noise_offset_random_strength,
        "ss_adaptive_noise_scale": loss.adaptive_noise_scale or None,
        "ss_multires_noise_iterations": loss.multires_noise_iterations or None,
        "ss_multires_noise_discount": loss.multires_noise_discount,
        "ss_ip_noise_gamma": loss.ip_noise_gamma or None,
        "ss_ip_noise_gamma_random_strength": loss.ip_noise_gamma_random_strength,
    }


def _pictures(config: TrainConfig, training_set: TrainingSet) -> dict[str, object]:
    data = config.data
    return {
        "ss_num_train_images": training_set.samples_per_epoch - training_set.reg_samples_per_epoch,
        "ss_num_reg_images": training_set.reg_samples_per_epoch,
        "ss_resolution": "({}, {})".format(*data.size),
        "ss_enable_bucket": data.enable_bucket,
        "ss_bucket_no_upscale": data.bucket_no_upscale,
        "ss_bucket_info": json.dumps(_bucket_info(training_set)),
        "ss_cache_latents": True,
        "ss_flip_aug": data.flip_aug,
        "ss_shuffle_caption": data.shuffle_caption,
        "ss_keep_tokens": data.keep_tokens,
        "ss_caption_dropout_rate": data.caption_dropout_rate,
        "ss_caption_tag_dropout_rate": data.caption_tag_dropout_rate,
        "ss_dataset_dirs": json.dumps(training_set.folder_counts(), ensure_ascii=False),
        "ss_reg_dataset_dirs": json.dumps(
            training_set.folder_counts(is_reg=True), ensure_ascii=False
        ),
        "ss_tag_frequency": json.dumps(training_set.tag_counts(), ensure_ascii=False),
    }


def _optimizer_text(config: TrainConfig) -> str:
    """As sd-scripts writes it: the class, then its arguments."""
    options = config.optimizer
    name = {"AdamW8bit": "bitsandbytes.optim.adamw.AdamW8bit", "AdamW": "torch.optim.adamw.AdamW"}
    return (
        f"{name[options.optimizer_type]}(weight_decay={options.weight_decay},"
        f"betas=({options.adam_beta1}, {options.adam_beta2}),eps={options.adam_epsilon})"
    )


def _bucket_info(training_set: TrainingSet) -> dict[str, object]:
    counts = training_set.bucket_counts()
    return {
        "buckets": {
            str(number): {"resolution": list(bucket), "count": count}
            for number, (bucket, count) in enumerate(counts.items())
        }
    }
