"""The facts about a run that are written into the metadata of its files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lycoris_ext.config import build_config
from lycoris_ext.config.resolve import OptionSource
from lycoris_ext.data.order import EqualEpochs
from lycoris_ext.training.metadata import training_metadata
from tests.reading import reading

PICTURES: Any = SimpleNamespace(
    fingerprint="f",
    drawn_anew=(False,) * 6,
    held_out=(),
    batches_per_epoch=6,
    epochs=EqualEpochs(6),
    samples_per_epoch=12,
    reg_samples_per_epoch=0,
    folder_counts=lambda is_reg=False: (
        {} if is_reg else {"2_cats": {"n_repeats": 2, "img_count": 6}}
    ),
    tag_counts=lambda: {"2_cats": {"by tester": 6, "cat": 2}},
    bucket_counts=lambda: {(64, 64): 12},
)


def metadata(step: int = 4, **options: object) -> dict[str, str]:
    values = {"max_train_steps": 9, "gradient_accumulation_steps": 2, "train_batch_size": 3}
    config = build_config([OptionSource("test", {**values, **options})])
    return training_metadata(config, PICTURES, "a" * 64, "sd1", step)


def test_metadata_count_epochs_steps_and_batches() -> None:
    told = metadata()
    assert told["ss_num_epochs"] == "3"  # 9 steps of 2 batches, 6 batches an epoch
    assert (told["ss_epoch"], told["ss_steps"], told["ss_max_train_steps"]) == ("1", "4", "9")
    assert (told["ss_batch_size_per_device"], told["ss_total_batch_size"]) == ("3", "6")
    assert told["modelspec.trigger_phrase"] == "by tester"


def test_a_runs_files_share_a_session_wherever_it_is_continued() -> None:
    session = metadata()["ss_session_id"]
    assert session == metadata(step=9, output_dir="elsewhere", output_name="b")["ss_session_id"]
    assert session != metadata(seed=5)["ss_session_id"]


def test_base_and_autoencoder_in_one_file_have_both_hashes(tmp_path: Path) -> None:
    base, vae = tmp_path / "base.safetensors", tmp_path / "vae.safetensors"
    base.write_bytes(bytes(0x100000) + b"x" * 0x10000 + b"tail")
    vae.write_bytes(b"short")
    told = metadata(pretrained_model_name_or_path=str(base), vae=str(vae))
    assert told["ss_sd_model_name"] == "base.safetensors"
    assert told["ss_sd_model_hash"] == hashlib.sha256(b"x" * 0x10000).hexdigest()[:8]
    assert told["ss_new_sd_model_hash"] == "a" * 64
    assert told["ss_vae_name"] == "vae.safetensors"
    assert told["ss_new_vae_hash"] == hashlib.sha256(b"short").hexdigest()
    vae.write_bytes(b"another")
    told = metadata(pretrained_model_name_or_path=str(base), vae=str(vae))
    assert told["ss_new_vae_hash"] == hashlib.sha256(b"another").hexdigest()
    assert str(tmp_path) not in str(told)


def test_a_base_whose_hash_is_known_is_not_read_again(tmp_path: Path) -> None:
    bases = [tmp_path / name for name in ("first.safetensors", "second.safetensors")]
    for base in bases:
        base.write_bytes(b"x" * 5_000_000)
    metadata(pretrained_model_name_or_path=str(bases[0]))
    with reading() as found:
        metadata(pretrained_model_name_or_path=str(bases[1]))
    assert found.bytes_read is None or found.bytes_read < 1_000_000


def test_lists_in_the_metadata_are_read_back_by_network_args() -> None:
    told = metadata(include=["unet.a", "unet.b"], exclude="unet.c")
    given = json.loads(told["ss_network_args"])
    assert (given["include"], given["exclude"]) == ("unet.a,unet.b", "unet.c")
    arguments = [f"{name}={given[name]}" for name in ("include", "exclude")]
    again = build_config([OptionSource("again", {"network_args": arguments})]).network
    assert (again.include, again.exclude) == (("unet.a", "unet.b"), ("unet.c",))


def test_texts_about_the_adapter_and_settings_that_were_left_out_are_in_its_metadata() -> None:
    told = metadata(
        training_comment="for a friend",
        metadata_title="Cats",
        metadata_trigger_phrase="a cat by tester",
        left_out=["color_aug = true is not supported"],
    )
    assert told["ss_training_comment"] == "for a friend"
    assert told["modelspec.title"] == "Cats"
    assert told["modelspec.trigger_phrase"] == "a cat by tester"
    assert 'left_out = ["color_aug = true is not supported"]' in told["lycoris_ext_config"]
    assert metadata()["ss_training_comment"] == "None"
