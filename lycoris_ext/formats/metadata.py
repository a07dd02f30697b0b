"""The metadata of an adapter file: sd-scripts' ``ss_*`` and ``modelspec.*``.

``build_metadata`` writes them from a run's options and facts; ``trigger_words`` reads them.

Source: sd-scripts 48d368f, train_network.py and library/sai_model_spec.py (ModelSpec 1.0.1);
docs/formats.md lists every field.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from lycoris_ext.formats.families import variant_of
from lycoris_ext.formats.json_text import parse_json

#: A tag is a trigger word if at least this share of a folder's pictures has it in its caption.
_TRIGGER_SHARE = 0.9

_FALSE = (
    "full_fp16 lowram zero_terminal_snr debiased_estimation fp8_base fp8_base_unet color_aug "
    "random_crop flip_aug shuffle_caption enable_bucket bucket_no_upscale gradient_checkpointing "
    "noise_offset_random_strength ip_noise_gamma_random_strength"
)
_NONE = (
    "output_name learning_rate text_encoder_lr unet_lr lr_warmup_steps lr_scheduler network_dim "
    "network_alpha network_dropout mixed_precision clip_skip max_token_length seed noise_offset "
    "multires_noise_iterations adaptive_noise_scale training_comment max_grad_norm "
    "caption_dropout_every_n_epochs face_crop_aug_range min_snr_gamma scale_weight_norms "
    "ip_noise_gamma validation_seed max_validation_steps validate_every_n_epochs "
    "validate_every_n_steps resize_interpolation min_bucket_reso max_bucket_reso keep_tokens"
)
#: The options that are written as ss_<name>, and the value of an option that we do not have.
OPTIONS: dict[str, object] = {
    **dict.fromkeys(_FALSE.split(), False),
    **dict.fromkeys(_NONE.split()),
    "gradient_accumulation_steps": 1,
    "cache_latents": True,
    "caption_dropout_rate": 0.0,
    "caption_tag_dropout_rate": 0.0,
    "multires_noise_discount": 0.3,
    "prior_loss_weight": 1.0,
    "validation_split": 0.0,
    "loss_type": "l2",
    "huber_schedule": "snr",
    "huber_scale": 1.0,
    "huber_c": 0.1,
}
#: Options with a value of ours for which sd-scripts writes None.
_NONE_WHEN: dict[str, object] = {
    "noise_offset": 0,
    "adaptive_noise_scale": 0,
    "multires_noise_iterations": 0,
    "ip_noise_gamma": 0,
    "network_dropout": 0,
    "max_token_length": 75,
}
#: Fields whose name differs from that of the option: field -> option.
RENAMED = {
    "batch_size_per_device": "train_batch_size",
    "debiased_estimation": "debiased_estimation_loss",
    "network_dropout": "dropout",
}


DATASET = "lycoris_ext_dataset"
"""The field that holds the fingerprint of the pictures and captions, see data/fingerprint.py."""

#: The fields that are shown first when a file is described, in this order, with their titles.
HEADINGS = {
    "ss_output_name": "name",
    "ss_sd_model_name": "base model",
    "ss_base_model_version": "base family",
    "ss_new_sd_model_hash": "base SHA-256",
    "ss_vae_name": "autoencoder",
    "ss_network_module": "network module",
    "ss_network_args": "network options",
    "ss_num_train_images": "pictures x repeats",
    DATASET: "data fingerprint",
    "ss_resolution": "resolution",
    "ss_steps": "steps",
    "ss_max_train_steps": "steps planned",
    "ss_num_epochs": "epochs",
    "ss_epoch": "epoch",
    "ss_total_batch_size": "batch size",
    "ss_batch_size_per_device": "batch size a device",
    "ss_gradient_accumulation_steps": "accumulation",
    "ss_optimizer": "optimizer",
    "ss_lr_scheduler": "scheduler",
    "ss_learning_rate": "learning rate",
    "ss_unet_lr": "U-Net rate",
    "ss_text_encoder_lr": "text encoder rate",
    "ss_clip_skip": "clip skip",
    "ss_mixed_precision": "mixed precision",
    "ss_seed": "seed",
    "ss_training_comment": "comment",
}
#: What a model predicts -> modelspec.prediction_type, which has no value for flow.
_PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v"}


@dataclass(frozen=True)
class ModelReference:
    """A base model or autoencoder, as metadata name it.

    Attributes:
        name: file or folder name, never a path.
        sha256: hash of its weights, as hex; empty if it is not known.
        legacy_hash: see ``hashes.legacy_hash``; empty if the model is no single file.
    """

    name: str
    sha256: str = ""
    legacy_hash: str = ""


@dataclass(frozen=True)
class RunFacts:
    """The facts of a run that go into metadata and are no options.

    Attributes:
        family: id of a ``families.Variant``, such as "sd1" or "sd2_v".
        base: the base model.
        steps, epoch: finished when the file is written.
        max_train_steps, num_epochs, num_batches_per_epoch: planned for the whole run.
        vae: the autoencoder, if it is not the base model's own.
        network_module: value of sd-scripts' --network_module that reads this network.
        network_args: the network's options: name -> value as text.
        optimizer: class and arguments, as sd-scripts writes them.
        resolution: (width, height) in pixels.
        num_train_images, num_reg_images, num_validation_images: pictures times repeats.
        dataset_dirs, reg_dataset_dirs: folder -> {"n_repeats", "img_count"}.
        tag_frequency: folder -> tag -> number of captions with it.
        bucket_info: sd-scripts' summary of the buckets.
        session_id: a number that all files of one run share.
        started_at, finished_at: seconds since 1970; None leaves them out, so that a repeated run
            writes the same bytes.
        software: value of modelspec.implementation_version.
    """

    family: str
    base: ModelReference
    steps: int
    max_train_steps: int
    vae: ModelReference | None = None
    network_module: str = "lycoris_ext.kohya"
    network_args: Mapping[str, str] = field(default_factory=dict)
    optimizer: str = "None"
    resolution: tuple[int, int] = (512, 512)
    epoch: int = 0
    num_epochs: int = 1
    num_batches_per_epoch: int = 1
    num_train_images: int = 0
    num_reg_images: int = 0
    num_validation_images: int = 0
    dataset_dirs: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    reg_dataset_dirs: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    tag_frequency: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    bucket_info: Mapping[str, object] = field(default_factory=dict)
    session_id: int = 0
    started_at: float | None = None
    finished_at: float | None = None
    software: str = "lycoris-ext"


def build_metadata(options: Mapping[str, object], facts: RunFacts) -> dict[str, str]:
    """Write the metadata of a trained adapter, without the hashes that ``save_adapter`` adds.

    Args:
        options: the options of the run, under sd-scripts' names; a missing one counts as not used.
        facts: what else is known of the run.

    Returns:
        Field -> text, as safetensors stores them; the text of an unset option is "None".

    Raises:
        ConfigError: the family in ``facts`` is not known.
    """
    values = {
        **{name: _option(name, options) for name in OPTIONS},
        **_run_fields(options, facts),
        **_picture_fields(facts),
        **_model_fields("sd_model", facts.base),
        **(_model_fields("vae", facts.vae) if facts.vae else {}),
    }
    written = {f"ss_{name}": str(value) for name, value in values.items()}
    return {**written, **_modelspec(options, facts, trigger_words(written))}


def _option(name: str, options: Mapping[str, object]) -> object:
    value = options.get(RENAMED.get(name, name), OPTIONS[name])
    return None if name in _NONE_WHEN and value == _NONE_WHEN[name] else value


def _run_fields(options: Mapping[str, object], facts: RunFacts) -> dict[str, object]:
    family, variant = variant_of(facts.family)
    batch = int(str(options.get("train_batch_size", 1)))
    accumulation = int(str(options.get("gradient_accumulation_steps", 1)))
    times = {
        "training_started_at": facts.started_at,
        "training_finished_at": facts.finished_at,
    }
    return {
        "session_id": facts.session_id,
        # Other tools parse these as numbers, so unknown ones are left out, not written as "None".
        **{name: value for name, value in times.items() if value is not None},
        "network_module": facts.network_module,
        "network_args": _json(facts.network_args),
        "optimizer": facts.optimizer,
        "v2": family.v2,
        "base_model_version": variant.version,
        "sd_scripts_commit_hash": "(unknown)",  # as sd-scripts writes it outside a checkout
        "steps": facts.steps,
        "epoch": facts.epoch,
        "num_epochs": facts.num_epochs,
        "max_train_steps": facts.max_train_steps,
        "num_batches_per_epoch": facts.num_batches_per_epoch,
        "num_train_images": facts.num_train_images,
        "num_reg_images": facts.num_reg_images,
        "num_validation_images": facts.num_validation_images,
        "batch_size_per_device": batch,
        "total_batch_size": batch * accumulation,
    }


def _picture_fields(facts: RunFacts) -> dict[str, object]:
    return {
        "resolution": "({}, {})".format(*facts.resolution),
        "dataset_dirs": _json(facts.dataset_dirs),
        "reg_dataset_dirs": _json(facts.reg_dataset_dirs),
        "tag_frequency": _json(facts.tag_frequency),
        "bucket_info": _json(facts.bucket_info),
    }


def _model_fields(kind: str, model: ModelReference) -> dict[str, object]:
    hashes = {f"{kind}_hash": model.legacy_hash, f"new_{kind}_hash": model.sha256}
    return {f"{kind}_name": model.name, **{name: value for name, value in hashes.items() if value}}


def _modelspec(
    options: Mapping[str, object], facts: RunFacts, triggers: tuple[str, ...]
) -> dict[str, str]:
    """Write the fields ``modelspec.*``; an option ``metadata_<name>`` sets or replaces one."""
    family, variant = variant_of(facts.family)
    values: dict[str, object] = {
        "sai_model_spec": "1.0.1",
        "architecture": f"{variant.architecture}/lora",
        "implementation": family.implementation,
        "implementation_version": facts.software,
        "title": options.get("output_name"),
        "resolution": "{}x{}".format(*facts.resolution),
        "prediction_type": _PREDICTIONS.get(variant.predicts),
        "encoder_layer": options.get("clip_skip"),
        "trigger_phrase": ", ".join(triggers) or None,
    }
    if facts.finished_at is not None:
        date = datetime.fromtimestamp(int(facts.finished_at), tz=timezone.utc)
        values["date"] = date.replace(tzinfo=None).isoformat()
    low, high = options.get("min_timestep"), options.get("max_timestep")
    if low is not None or high is not None:
        values["timestep_range"] = f"{0 if low is None else low},{1000 if high is None else high}"
    for name, value in options.items():
        if name.startswith("metadata_") and value is not None:
            values[name.removeprefix("metadata_")] = value
    return {f"modelspec.{name}": str(v) for name, v in values.items() if v not in (None, "")}


def trigger_words(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return the tags that nearly every caption of some training folder has, the commonest first.

    They are read from ``modelspec.trigger_phrase`` if the file has it, otherwise computed from the
    counts of tags (``ss_tag_frequency``) and of pictures (``ss_dataset_dirs``).

    Args:
        metadata: of an adapter file.
    """
    phrase = metadata.get("modelspec.trigger_phrase", "").strip()
    if phrase:
        return tuple(word.strip() for word in phrase.split(",") if word.strip())
    folders = json_object(metadata.get("ss_tag_frequency", ""))
    sizes = json_object(metadata.get("ss_dataset_dirs", ""))
    found: Counter[str] = Counter()
    for folder, counts in folders.items():
        if not isinstance(counts, dict):
            continue
        tags = {tag: n for tag, n in counts.items() if isinstance(n, int) and n > 0}
        size = sizes.get(folder, {})
        pictures = size.get("img_count") if isinstance(size, dict) else None
        # If the number of pictures is not known, the count of the commonest tag is taken for it.
        whole = pictures if isinstance(pictures, int) else max(tags.values(), default=0)
        for tag, count in tags.items():
            if whole and count >= _TRIGGER_SHARE * whole:
                found[tag.strip()] += count
    return tuple(tag for tag, _ in found.most_common())


def json_object(text: str) -> dict[str, Any]:
    """Parse a text that should be a JSON object; return an empty dict if it is none."""
    try:
        content = parse_json(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _json(content: Mapping[str, object]) -> str:
    return json.dumps(content, ensure_ascii=False)
