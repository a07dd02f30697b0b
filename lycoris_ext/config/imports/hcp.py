"""HCP-Diffusion: its YAML configs, with its own LoRA or with LyCORIS's plugins (lycoris.hcp).

A config names others as its ``_base_``; those that are found are read first. The three that
HCP-Diffusion itself brings are known here, so they need not be there.

Source: https://github.com/IrisRainbowNeko/HCP-Diffusion at 404f0e8, cfgs/train (defaults),
hcpdiff/train_ac.py (steps, learning rates), hcpdiff/utils/net_utils.py (schedules).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lycoris_ext.config.imports import fixes
from lycoris_ext.config.imports.foreign import Foreign, Format
from lycoris_ext.config.imports.hcp_data import read_data
from lycoris_ext.config.imports.hcp_document import with_bases
from lycoris_ext.config.imports.hcp_network import read_network
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

PROGRAM = "HCP-Diffusion"

_NETWORKS = ("lora_unet", "lora_text_encoder", "plugin_unet", "plugin_TE")
_OPTIMIZERS = {
    "AdamW": "AdamW",
    "AdamW8bit": "AdamW8bit",
    "Lion": "Lion",
    "Lion8bit": "Lion8bit",
    "Prodigy": "Prodigy",
    "DAdaptAdam": "DAdaptAdam",
    "DAdaptation": "DAdaptAdam",
    "Adafactor": "AdaFactor",
    "AdaFactor": "AdaFactor",
}
"""Class of the optimizer -> sd-scripts' name; others keep their names and are refused by those."""


def _recognises(document: Mapping[str, Any]) -> bool:
    bases = str(document.get("_base_", ""))
    return (
        any(name in document for name in (*_NETWORKS, "tokenizer_pt"))
        or "cfgs/train" in bases
        or {"ckpt_type", "exp_dir"} <= document.keys()
    )


def _read(document: Mapping[str, Any], where: str) -> Foreign:
    settings = Settings(PROGRAM, where, {})
    settings.values |= {"caption_extension": ".txt", "enable_bucket": True}
    merged, references = with_bases(document, settings)
    _check_trained(settings, merged)
    apart = (*_NETWORKS, "unet", "text_encoder", "data")
    others = {name: value for name, value in merged.items() if name not in apart}
    settings.left = Settings(PROGRAM, where, others).left
    batch = read_data(settings, merged.get("data"))
    accumulated = settings.take_as(whole_from_1, "train.gradient_accumulation_steps", 1)
    scaled = settings.take_as(flag, "train.scale_lr", True)
    read_network(settings, merged, batch * accumulated if scaled else 1)
    batches = _read_length(settings, accumulated)
    _read_optimizer(settings)
    _read_schedule(settings, batches)
    _read_loss(settings)
    _read_model(settings)
    own = [pattern for name in references for pattern in (name, f"{name}.*")]
    settings.follow({**dict.fromkeys(own, NOTHING), **_RULES})
    return settings.foreign()


FORMAT = Format(PROGRAM, _recognises, _read)


def _check_trained(settings: Settings, merged: Mapping[str, Any]) -> None:
    """Raise ConfigError if no adapter is trained."""
    if any(merged.get(name) for name in _NETWORKS):
        for name in ("unet", "text_encoder"):
            if merged.get(name):
                settings.refuse(name, merged[name], "train the adapter alone: set it to null")
        return
    if merged.get("unet") or merged.get("text_encoder"):
        raise settings.not_trained(
            "trains layers of the model itself, not an adapter (unet or text_encoder is set)",
            'name the layers in lora_unet; algo = "full" trains all weights of the layers and '
            "saves the difference as an adapter",
        )
    raise settings.not_trained(
        "trains no adapter: it has neither lora_unet nor plugin_unet",
        "give the config that names this one as its _base_",
    )


def _read_length(settings: Settings, accumulated: int) -> int:
    """Read the length of the run, and return it in batches; the program counts these, not steps."""
    settings.values["gradient_accumulation_steps"] = accumulated
    batches = settings.take_as(whole, "train.train_steps", 1000)
    epochs = settings.take_as(whole, "train.train_epochs", 0)
    if epochs > 0:
        settings.values["max_train_epochs"] = epochs
    else:
        settings.values["max_train_steps"] = batches // accumulated
    every = settings.take_as(whole, "train.save_step", 100) // accumulated
    if every > 0:
        settings.values["save_every_n_steps"] = every
    return 0 if epochs > 0 else batches


def _read_optimizer(settings: Settings) -> None:
    prefix = "train.optimizer."
    chosen = settings.take_word(f"{prefix}_target_", "torch.optim.AdamW").rpartition(".")[2]
    for name in ("_partial_", "type"):
        settings.take(f"{prefix}{name}")
    arguments = {
        name.removeprefix(prefix): settings.take(name)
        for name in list(settings.left)
        if name.startswith(prefix)
    }
    arguments = {name: value for name, value in arguments.items() if value is not None}
    settings.values["optimizer_type"] = _OPTIMIZERS.get(chosen, chosen)
    settings.values["optimizer_args"] = as_arguments(arguments)


def _read_schedule(settings: Settings, batches: int) -> None:
    """Read the schedule, which counts batches.

    Args:
        batches: in the run; 0: its length is given in epochs.
    """
    values = settings.values
    prefix = "train.scheduler."
    kind = settings.take_word(f"{prefix}name", "constant")
    warmup = settings.take_as(whole, f"{prefix}num_warmup_steps", 0)
    length = settings.take_as(whole, f"{prefix}num_training_steps", 0)
    cycles = settings.take_as(whole, f"{prefix}scheduler_kwargs.num_cycles", 1)
    power = settings.take_as(number, f"{prefix}scheduler_kwargs.power", 1.0)
    values["lr_scheduler"] = kind
    if kind == "one_cycle":
        values["lr_scheduler"] = "cosine"
        settings.refuse(
            "train.scheduler.name", kind, 'use lr_scheduler = "cosine" with the same warm-up'
        )
    if kind == "cosine_with_restarts":
        values["lr_scheduler_num_cycles"] = max(1, cycles)
    if kind == "polynomial":
        values["lr_scheduler_power"] = power
    if warmup > 0 and kind != "constant":
        values["lr_warmup_steps"] = warmup // values["gradient_accumulation_steps"]
    falling = kind not in ("constant", "constant_with_warmup")
    if falling and length and length != batches:
        settings.refuse(
            "train.scheduler.num_training_steps",
            length,
            "set it to train_steps: here the rate falls until the run ends",
        )


def _read_loss(settings: Settings) -> None:
    prefix = "train.loss.criterion."
    criterion = settings.take_word(f"{prefix}_target_", "torch.nn.MSELoss").rpartition(".")[2]
    gamma = settings.take_as(number, f"{prefix}gamma", 1.0)
    for name in ("_partial_", "reduction"):
        settings.take(f"{prefix}{name}")
    if criterion == "MinSNRLoss":
        settings.values["min_snr_gamma"] = gamma
    elif criterion == "L1Loss":
        settings.values["loss_type"] = "l1"
    elif criterion != "MSELoss":
        settings.refuse(
            "train.loss.criterion", criterion, "use MSELoss, L1Loss or MinSNRLoss (min_snr_gamma)"
        )


def _read_model(settings: Settings) -> None:
    values = settings.values
    name = settings.take_as(text, "model.pretrained_model_name_or_path", "")
    values["pretrained_model_name_or_path"] = name
    values["clip_skip"] = 1 + settings.take_as(whole, "model.clip_skip", 0)
    repeats = settings.take_as(whole, "model.tokenizer_repeats", 2)
    if repeats in (2, 3):
        values["max_token_length"] = 75 * repeats
    elif repeats != 1:
        settings.refuse("model.tokenizer_repeats", repeats, "use 1, 2 or 3")
    normed = settings.take_as(flag, "model.clip_final_norm", True)
    if not normed and "xl" not in name.lower():  # SDXL's encoders are read without it here, too
        settings.refuse(
            "model.clip_final_norm", False, "set it to true, unless the base model is SDXL"
        )
    decay = settings.take_as(number, "model.ema.decay_max", 0.0)
    decay = settings.take_as(number, "model.ema_unet", decay)
    if decay > 0:
        values["ema_decay"] = decay
    folder = settings.take_as(text, "exp_dir", "exps")
    values["output_dir"] = folder.partition("${")[0].partition("{")[0].rstrip("/\\") or "exps"
    words = settings.take_rows("tokenizer_pt.train")
    if words:
        settings.refuse(
            "tokenizer_pt.train",
            [row.get("name") for row in words],
            "train without embeddings of your own; captions then hold plain words",
        )


_RULES: dict[str, Rule] = {
    "seed": becomes("seed", whole),
    "mixed_precision": becomes(
        "mixed_precision", {"fp16": "fp16", "bf16": "bf16", "no": "no", "fp32": "no"}
    ),
    "model.gradient_checkpointing": becomes("gradient_checkpointing", flag),
    "model.vae": only(fix="give the path of the autoencoder as vae"),
    "model.unet": only(fix=fixes.ONE_BASE),
    "model.text_encoder": only(fix=fixes.ONE_BASE),
    "model.tokenizer": only(fix="remove it; the tokenizer of the base model is used"),
    "model.vae.*": only(fix="give the path of the autoencoder as vae"),
    "model.unet.*": only(fix=fixes.ONE_BASE),
    "model.text_encoder.*": only(fix=fixes.ONE_BASE),
    "model.noise_scheduler*": only(
        fix="remove it; what it sets here are v_parameterization and zero_terminal_snr"
    ),
    "train.max_grad_norm": becomes("max_grad_norm", number),
    "train.loss.type": only(
        "eps", fix="set it to eps; that a base model predicts velocity is found out here"
    ),
    "train.resume*": only(fix="start from the adapter file with network_weights"),
    "train.cfg_scale": only("1.0", fix="train without it"),
    "train.scheduler.scheduler_kwargs.*": only(fix="remove it"),
    **all_of(
        """
        _base_ allow_tf32 ckpt_type logger* model.ema* model.enable_xformers
        model.force_cast_precision model.revision model.vae_dtype name previewer* tokenizer_pt.*
        train.gradient_accumulation_steps train.loss.* train.optimizer_pt* train.scale_lr_pt
        train.scheduler.* train.scheduler_pt* train.set_grads_to_none train.workers vis_info*
        """,
        NOTHING,
    ),
}
"""Setting -> what becomes of it, for those that stand alone."""
