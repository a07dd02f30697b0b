"""Metadata have the fields and the spelling of sd-scripts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from lycoris_ext.errors import ConfigError
from lycoris_ext.formats.hashes import legacy_hash
from lycoris_ext.formats.metadata import (
    ModelReference,
    RunFacts,
    build_metadata,
    trigger_words,
)


def words(text: str) -> list[str]:
    return text.split()


#: Every ss_* field of sd-scripts 48d368f (train_network.py) for SD1, SD2 and SDXL.
FIELDS = words(
    """
    session_id training_started_at output_name learning_rate text_encoder_lr unet_lr
    num_train_images num_validation_images num_reg_images num_batches_per_epoch num_epochs
    gradient_checkpointing gradient_accumulation_steps max_train_steps lr_warmup_steps
    lr_scheduler network_module network_dim network_alpha network_dropout mixed_precision
    full_fp16 v2 base_model_version clip_skip max_token_length cache_latents seed lowram
    noise_offset multires_noise_iterations multires_noise_discount adaptive_noise_scale
    zero_terminal_snr training_comment sd_scripts_commit_hash optimizer max_grad_norm
    caption_dropout_rate caption_dropout_every_n_epochs caption_tag_dropout_rate
    face_crop_aug_range prior_loss_weight min_snr_gamma scale_weight_norms ip_noise_gamma
    debiased_estimation noise_offset_random_strength ip_noise_gamma_random_strength loss_type
    huber_schedule huber_scale huber_c fp8_base fp8_base_unet validation_seed validation_split
    max_validation_steps validate_every_n_epochs validate_every_n_steps resize_interpolation
    batch_size_per_device total_batch_size resolution color_aug flip_aug random_crop
    shuffle_caption enable_bucket bucket_no_upscale min_bucket_reso max_bucket_reso keep_tokens
    dataset_dirs reg_dataset_dirs tag_frequency bucket_info network_args sd_model_hash
    new_sd_model_hash sd_model_name vae_hash new_vae_hash vae_name training_finished_at steps
    epoch
    """
)

FACTS = RunFacts(
    family="sd1",
    base=ModelReference("base.safetensors", "a" * 64, "b" * 8),
    vae=ModelReference("vae.pt", "c" * 64, "d" * 8),
    steps=40,
    max_train_steps=100,
    resolution=(512, 768),
    network_args={"algo": "loha"},
    dataset_dirs={"10_猫": {"n_repeats": 10, "img_count": 20}},
    tag_frequency={"10_猫": {"by fluent": 20, "cat": 19, "red": 3}},
    session_id=7,
    started_at=1679706673.4,
    finished_at=1679706999.9,
    software="lycoris-ext/0.1.0",
)
OPTIONS = {
    "output_name": "style",
    "train_batch_size": 3,
    "dropout": 0.1,
    "clip_skip": 2,
    "unet_lr": None,
    "min_snr_gamma": 5,
    "noise_offset": 0.0,
    "debiased_estimation_loss": True,
    "metadata_author": "me",
    "min_timestep": 100,
}


def test_exactly_the_ss_fields_of_sd_scripts_are_written() -> None:
    metadata = build_metadata(OPTIONS, FACTS)
    assert {key for key in metadata if key.startswith("ss_")} == {f"ss_{name}" for name in FIELDS}
    assert all(isinstance(value, str) for value in metadata.values())


def test_metadata_values_are_written_as_sd_scripts_writes_them() -> None:
    metadata = build_metadata(OPTIONS, FACTS)
    for field, text in {
        "output_name": "style",
        "batch_size_per_device": "3",
        "network_dropout": "0.1",
        "debiased_estimation": "True",
        "unet_lr": "None",
        "noise_offset": "None",
        "full_fp16": "False",
        "max_token_length": "None",
        "loss_type": "l2",
        "resolution": "(512, 768)",
        "v2": "False",
        "base_model_version": "sd_v1",
        "sd_model_name": "base.safetensors",
        "sd_model_hash": "b" * 8,
        "new_sd_model_hash": "a" * 64,
        "vae_name": "vae.pt",
        "vae_hash": "d" * 8,
        "new_vae_hash": "c" * 64,
        "session_id": "7",
        "steps": "40",
        "training_started_at": "1679706673.4",
    }.items():
        assert metadata[f"ss_{field}"] == text, field
    assert json.loads(metadata["ss_tag_frequency"])["10_猫"]["cat"] == 19
    assert json.loads(metadata["ss_dataset_dirs"]) == FACTS.dataset_dirs


def test_modelspec_fields_describe_the_adapter() -> None:
    metadata = build_metadata(OPTIONS, FACTS)
    date = metadata.pop("modelspec.date")
    assert datetime.fromisoformat(date).timestamp() > 0
    assert {k: v for k, v in metadata.items() if k.startswith("modelspec.")} == {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.implementation_version": "lycoris-ext/0.1.0",
        "modelspec.title": "style",
        "modelspec.resolution": "512x768",
        "modelspec.prediction_type": "epsilon",
        "modelspec.encoder_layer": "2",
        "modelspec.timestep_range": "100,1000",
        "modelspec.trigger_phrase": "by fluent, cat",
        "modelspec.author": "me",
    }


@pytest.mark.parametrize(
    ("family", "version", "v2", "architecture", "prediction"),
    [
        ("sd2", "sd_v2", "True", "stable-diffusion-v2-512/lora", "epsilon"),
        ("sd2_v", "sd_v2_v", "True", "stable-diffusion-v2-768-v/lora", "v"),
        ("sd1_v", "sd_v1_v", "False", "stable-diffusion-v1/lora", "v"),
        ("sdxl", "sdxl_base_v1-0", "False", "stable-diffusion-xl-v1-base/lora", "epsilon"),
        ("sdxl_v", "sdxl_base_v1-0", "False", "stable-diffusion-xl-v1-base/lora", "v"),
    ],
)
def test_version_architecture_and_prediction_follow_the_family(
    family: str, version: str, v2: str, architecture: str, prediction: str
) -> None:
    metadata = build_metadata({}, replace(FACTS, family=family))
    assert metadata["ss_base_model_version"] == version
    assert metadata["ss_v2"] == v2
    assert metadata["modelspec.architecture"] == architecture
    assert metadata["modelspec.prediction_type"] == prediction


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"(?s)unknown family 'flux'.*sdxl"):
        build_metadata({}, replace(FACTS, family="flux"))


def test_unknown_values_are_left_out_of_the_metadata() -> None:
    """Readers parse times as numbers; "None" would break them."""
    bare = RunFacts(family="sd1", base=ModelReference("folder"), steps=1, max_train_steps=2)
    metadata = build_metadata({}, bare)
    for name in ("training_started_at", "vae_name", "sd_model_hash", "new_sd_model_hash"):
        assert f"ss_{name}" not in metadata
    assert "modelspec.date" not in metadata
    assert "modelspec.trigger_phrase" not in metadata


def test_the_legacy_hash_covers_64_kb_after_the_first_megabyte(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    path.write_bytes(b"x" * 0x100000)
    assert legacy_hash(path) == "e3b0c442"  # sha256 of nothing, as for a file below one megabyte
    path.write_bytes(b"x" * 0x100000 + b"y" * 0x20000)
    assert legacy_hash(path) == hashlib.sha256(b"y" * 0x10000).hexdigest()[:8]


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"modelspec.trigger_phrase": "by kantoku, Anisphia"}, ("by kantoku", "Anisphia")),
        ({"ss_tag_frequency": '{"a": {"x": 3, "y": 1}, "b": {"z": 9}}'}, ("z", "x")),
        ({"ss_tag_frequency": "[not json"}, ()),
        ({"ss_tag_frequency": '{"a": [1], "b": {"c": "many"}}'}, ()),
        ({}, ()),
    ],
)
def test_trigger_words_are_the_trigger_phrase_or_the_commonest_tags(
    metadata: dict[str, str], expected: tuple[str, ...]
) -> None:
    assert trigger_words(metadata) == expected
